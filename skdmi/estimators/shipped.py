"""The models that come with skdmi, and what was measured of them."""

from dataclasses import dataclass

from skdmi.estimators.description import Described, describe_model
from skdmi.persistence import pretrained_names, shipped_directory


@dataclass(frozen=True)
class ShippedModel:
    """A model that comes with skdmi.

    Attributes
    ----------
    name : str
        What ``load_pretrained`` calls it.
    matrices : str
        Their size.
    network : str
        What it is.
    training : str
        What family of matrices it was fitted to or trained on.
    depth, width : int
        Of the network.
    n_parameters, n_bytes : int
        Of its weights.
    n_products : int
        Products of m x m matrices for an inverse.
    residual_norm : float or None
        Mean of ``||I - A X||_F`` over fresh matrices of the family; None where it was not measured.
    untrained_n_products : int or None
        Of the untrained network that comes nearest, at no fewer products.
    untrained_residual_norm : float or None
        Of that one, over the same matrices.
    """

    name: str
    matrices: str
    network: str
    training: str
    depth: int
    width: int
    n_parameters: int
    n_bytes: int
    n_products: int
    residual_norm: float | None
    untrained_n_products: int | None
    untrained_residual_norm: float | None

    def __str__(self) -> str:
        what = f"{self.name}: {self.matrices}, {self.network}, {self.training}"
        if self.residual_norm is None:
            return what
        return (
            f"{what}; mean residual norm {self.residual_norm:.1e} in {self.n_products} products, untrained "
            f"{self.untrained_residual_norm:.1e} in {self.untrained_n_products}"
        )


class ShippedModels(dict[str, ShippedModel]):
    """The models that come with skdmi, by name; printed, a line of each."""

    def __str__(self) -> str:
        return "\n".join(map(str, self.values()))


def shipped_models() -> ShippedModels:
    """Return the models that come with skdmi, with what was measured of each.

    Returns
    -------
    ShippedModels
        A dict of ``ShippedModel`` by name, which prints as a line of each.

    See Also
    --------
    load_pretrained : Loads one by its name.

    Examples
    --------
    >>> import skdmi
    >>> models = skdmi.shipped_models()
    >>> models["uniform-3x3-short"].n_products
    5
    >>> print(models["uniform-3x3-short"])
    uniform-3x3-short: 3 x 3, polynomial, depth 1, width 4, trained on Uniform(); mean residual norm 2.0e-02 in ...
    """
    return ShippedModels(
        (one.name, _figures(one))
        for name in pretrained_names()
        for one in describe_model(name, shipped_directory(name))
    )


def _figures(one: Described) -> ShippedModel:
    architecture, texts, figures = one.content["fitted"]["_architecture"], one.texts, one.figures
    gain = one.content.get("gain", {})
    trained, untrained = gain.get("trained", {}), gain.get("untrained", {})
    return ShippedModel(
        name=one.name,
        matrices=texts["matrices"],
        network=texts["network"],
        training=texts["training"],
        depth=architecture["depth"],
        width=architecture["width"],
        n_parameters=figures["n_parameters"],
        n_bytes=figures["n_bytes"],
        n_products=figures["n_products"],
        residual_norm=trained.get("mean"),
        untrained_n_products=untrained.get("products"),
        untrained_residual_norm=untrained.get("mean"),
    )
