"""Begin a training with the weights of another one."""

from __future__ import annotations

from collections.abc import Mapping

from striate.arguments import explained
from striate.data.dataset import Array
from striate.errors import OptionError
from striate.nn.module import Module
from striate.options import require_instance

_LISTED = 4


@explained
def load_matching(model: Module, state: Mapping[str, Array]) -> list[str]:
    """Copy into ``model`` the arrays of another model that have the name and the shape of an array of ``model``.

    All other arrays of ``model``, such as those of a last layer for other classes, keep their initial values. ``state``
    is another model's ``state_dict()``. The sizes of ``model`` must be known (``model.infer``). The standardizer of
    ``model`` is not changed.

        model = st.models.build("resnet20", channels=3, classes=5).infer((3, 32, 32))
        train.load_matching(model, st.load("runs/cifar10/model.safetensors").state_dict())
        model.freeze("conv1", "layer1*", statistics=True)

    Returns the names of the arrays that keep their initial values. Raises ``OptionError`` if no array fits.
    """
    require_instance("model", model, Module, "st.models.build(…)")
    own = {name: array for name, array in model.state_dict().items() if not name.startswith("standardizer.")}
    fitting = {name: state[name] for name, array in own.items() if name in state and state[name].shape == array.shape}
    if not fitting:
        names = list(own)
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        raise OptionError(
            "no array of the saved model has the name and shape of one of this model: "
            f"{', '.join(names[:_LISTED])}{more}\n"
            "  help: give the model file of the same network"
        )
    model.load_state_dict(fitting, strict=False)
    return [name for name in own if name not in fitting]
