"""Parameters of callbacks, as skorch names them, beside those of an estimator."""

from typing import Any, Self

from sklearn.base import BaseEstimator

from skdmi.training.users import PREFIX, callback_parameters, with_callback_parameters


class WithCallbacks(BaseEstimator):
    """Base of an estimator with a parameter ``callbacks``: theirs are ``callbacks__name__parameter``, as in skorch.

    A callback without a name has that of its class, numbered where there are several.
    """

    callbacks: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, with ``deep`` callbacks and their parameters too, by name.

        Parameters
        ----------
        deep : bool, default=True
            Whether to add those of what parameters hold.

        Returns
        -------
        dict
            Values by the names of parameters.

        Examples
        --------
        >>> from skorch.callbacks import EarlyStopping
        >>> from skdmi import NeuralMatrixInverter
        >>> inverter = NeuralMatrixInverter(callbacks=[("stop", EarlyStopping(patience=3))])
        >>> inverter.get_params()["callbacks__stop__patience"]
        3
        """
        parameters: dict[str, Any] = super().get_params(deep=deep)
        return parameters | callback_parameters(self.callbacks) if deep else parameters

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of callbacks too.

        Parameters
        ----------
        **params
            ``callbacks__name`` is another callback, or None for none; ``callbacks__name__parameter`` one of its
            parameters.

        Returns
        -------
        WithCallbacks
            This estimator.

        Raises
        ------
        ValueError
            If there is no such parameter.

        Examples
        --------
        >>> from skorch.callbacks import EarlyStopping
        >>> from skdmi import NeuralMatrixInverter
        >>> inverter = NeuralMatrixInverter(callbacks=[("stop", EarlyStopping())])
        >>> inverter.set_params(callbacks__stop__patience=2).get_params()["callbacks__stop__patience"]
        2
        """
        changes = {name.removeprefix(PREFIX): params.pop(name) for name in list(params) if name.startswith(PREFIX)}
        super().set_params(**params)
        if changes:
            self.callbacks = with_callback_parameters(self.callbacks, changes)
        return self
