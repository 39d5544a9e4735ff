"""
A stack larger than the memory of a worker, by dask
===================================================

Kriging in thousands of regions asks for inverses themselves, not for solutions: the errors of leaving out each station
in turn are :math:`(K^{-1} y)_i / (K^{-1})_{ii}`. The covariances have more than twice the bytes that a worker of the
cluster may use. They are dask's, so chunks are made, inverted, used and forgotten one by one.
"""

import resource
import time
from contextlib import ExitStack
from tempfile import TemporaryDirectory

import dask
import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from distributed import Client
from distributed.deploy.subprocess import SubprocessCluster
from distributed.diagnostics import MemorySampler

import skdmi

REGIONS, N, N_WORKERS = 48_000, 64, 2
CHUNK = 500  # regions
LIMIT, TOTAL = 640e6, REGIONS * N * N * 8
print(f"{REGIONS:,} matrices of {N} x {N} have {TOTAL / 1e6:.0f} MB; a worker may use {LIMIT / 1e6:.0f} MB")

# %%
# Two workers of one thread, each a process that a nanny watches and ends where it exceeds its limit. Most of a limit so
# small goes to Python and its libraries, before there is any data, so they are let near to it.

opened = ExitStack()
folder = opened.enter_context(TemporaryDirectory())
shares = {"target": 0.65, "spill": 0.85, "pause": 0.95}
cluster = opened.enter_context(
    SubprocessCluster(
        n_workers=N_WORKERS,
        threads_per_worker=1,
        dashboard_address=None,
        scheduler_kwargs={"scheduler_file": f"{folder}/scheduler.json"},
        worker_kwargs={
            "memory_limit": LIMIT,
            "local_directory": folder,
            "config": {f"distributed.worker.memory.{name}": share for name, share in shares.items()},
        },
        silence_logs=50,
    )
)
client = opened.enter_context(Client(cluster))
client.wait_for_workers(N_WORKERS, timeout=60)
before = client.run(resource.getrusage, resource.RUSAGE_SELF)

# %%
# In every region stations in the unit square, an exponential covariance with a nugget, and a field measured at them.
# All of it is lazy: workers make the chunks of K when they need them.

rng = da.random.default_rng(0)
east, north = rng.random((2, REGIONS, N), chunks=(1, CHUNK, N))
field = da.sin(6 * east) * da.cos(4 * north) + 0.1 * rng.standard_normal((REGIONS, N), chunks=(CHUNK, N))
distance = da.sqrt((east[:, :, None] - east[:, None]) ** 2 + (north[:, :, None] - north[:, None]) ** 2)
K = da.exp(-distance / 0.5) + 0.01 * da.eye(N)

inverse = skdmi.inv(K)

# %%
# The inverses are as large as the stack, so they never leave the cluster. What comes back is two numbers: the root mean
# square of leaving out a station, and the largest residual :math:`K (K^{-1} V) - V` on four random vectors V a region.

start = time.perf_counter()
probes = rng.standard_normal((REGIONS, N, 4), chunks=(CHUNK, N, 4))
sampler = MemorySampler()
with sampler.sample("memory", client=client, interval=0.1):
    left_out = (inverse @ field[:, :, None])[..., 0] / da.diagonal(inverse, axis1=1, axis2=2)
    misfit = K @ (inverse @ probes) - probes
    rms_left_out, residual = dask.compute(da.sqrt((left_out**2).mean()), abs(misfit).max())
after = client.run(resource.getrusage, resource.RUSAGE_SELF)

peaks = [usage.ru_maxrss * 1024 / 1e6 for usage in after.values()]  # as Linux counts
print(f"{time.perf_counter() - start:.0f} s; largest residual on the probes {residual:.1e}")
print(f"peak memory of the workers: {', '.join(f'{peak:.0f} MB' for peak in peaks)}")
print(f"no worker was ended: {before.keys() == after.keys()}")
print(f"root mean square of leaving out a station: {rms_left_out:.3f}; the noise has 0.1")

# %%
# A single matrix whose chunks are parts of it goes through :class:`~skdmi.BlockInverter`, which makes a graph over
# them, so that no worker needs to hold it whole; rows are then exchanged within chunks only. Here one of 1,500 rows, to
# show that; it would fit.

x, y = rng.random((2, 1_500), chunks=(1, 500))
large = da.exp(-2 * da.sqrt((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2)) + 0.01 * da.eye(1_500, chunks=500)
solution = skdmi.BlockInverter().transform(large[None])[0]
v = rng.standard_normal(1_500, chunks=500)
graph_residual = abs(large @ (solution @ v) - v).max().compute()
print(f"one matrix in {large.npartitions} chunks: {len(solution.dask)} tasks, residual on a probe {graph_residual:.1e}")
opened.close()

# %%
# What both workers use, in the mean, is mostly their libraries.

plt.style.use("skdmi.inspection.paper")
fig, ax = plt.subplots()
seconds, sizes = np.transpose(sampler.samples["memory"])
ax.plot(seconds - seconds[0], sizes / N_WORKERS / 1e6)
for level, label in ((LIMIT, "limit of a worker"), (TOTAL, "the stack")):
    ax.axhline(level / 1e6, color="black", linestyle=":")
    ax.text(0, level / 1e6 + 20, label, weight="bold")
ax.set(ylim=(0, TOTAL / 1e6 + 150), xlabel="Time (s)", ylabel="Memory of a worker (MB)")
ax.set_title(f"{REGIONS:,} matrices of {N} x {N}, two workers")
plt.show()
