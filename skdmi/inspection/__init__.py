"""Pictures of inverters, in the manner of scikit-learn's displays.

They need matplotlib: ``pip install "skdmi[plot]"``. Figures can be saved by ``display.figure_.savefig``, and
``plt.style.use("skdmi.inspection.paper")`` gives them the look of those in the documentation, in colours that can be
told apart without red or green.
"""

from skdmi.inspection.inversion import InversionDisplay
from skdmi.inspection.matrices import MatrixDisplay
from skdmi.inspection.residuals import ResidualDisplay
from skdmi.inspection.training import TrainingDisplay

__all__ = ["InversionDisplay", "MatrixDisplay", "ResidualDisplay", "TrainingDisplay"]
