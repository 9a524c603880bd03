"""Whether an object has the methods of a protocol, and calling what takes only some of the keywords offered.

Said of extensions before they are used, and of implementations under test (`aira_bench.testing`): which method is
missing, or cannot be called as it will be.

Not covered: what the methods do, and the types of their parameters and results.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial


def makes(found: object) -> bool:
    """Whether something is called to get an object: a class, a function, or a part of a call of one."""
    return isinstance(found, type | partial) or inspect.isroutine(found)


def call_with(found: object, offers: Mapping[str, object]) -> object:
    """Call a class or function with those of `offers` that it has parameters for."""
    assert callable(found)
    parameters = inspect.signature(found).parameters.values()
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters)
    named = {each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    return found(**{name: value for name, value in offers.items() if takes_all or name in named})


def lacks(found: object, protocol: type) -> str:
    """Why a class or object does not have the methods of a protocol, in words; empty if it has them all."""
    for name, wanted in vars(protocol).items():
        if name.startswith("_"):
            continue
        made = not isinstance(found, type)
        if not hasattr(found, name):
            declared = {
                each for base in getattr(found, "__mro__", ()) for each in vars(base).get("__annotations__", ())
            }
            if made or (inspect.isroutine(wanted) and name not in declared):
                return f"it has no {'method' if inspect.isroutine(wanted) else 'attribute'} {name!r}"
            continue  # a class may set attributes when it is made
        bound = made or isinstance(inspect.getattr_static(found, name), classmethod | staticmethod)
        if inspect.isroutine(wanted) and (problem := _misfit(getattr(found, name), wanted, bound=bound)):
            return f"its {name!r} {problem}"
    return ""


def _misfit(method: object, wanted: Callable[..., object], *, bound: bool) -> str:
    """Why `method` cannot be called as the protocol's is; `wanted` has a parameter `self`, a bound method has none."""
    if not callable(method):
        return "is no method"
    parameters = list(inspect.signature(wanted).parameters.values())[bound:]
    positional = [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY]
    keywords = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    try:
        inspect.signature(method).bind(*positional, **dict.fromkeys(keywords))
    except ValueError:
        return ""  # a method of C that does not say
    except TypeError as error:
        called = ", ".join([*positional[not bound :], *(f"{name}=" for name in keywords)])
        return f"cannot be called with ({called}): {error}"
    return ""
