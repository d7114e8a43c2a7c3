"""Functions that emitted modules copy: each module holds the ones that it uses, as they stand here.

This file is read as text; it runs only inside of emitted modules and in tests. Parameters have
PyTorch's names and layouts: images are [B, c, H, W], kernels [out, in, h, w], weights of linear
maps [out, in].
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

Params = dict[str, Any]
State = dict[str, Any]
PATHS: dict[str, Any] = {}


def to_flat(params: Params, place: str = "", path: str = "") -> Params:
    """Parameters by their paths in checkpoints, each layer by itself."""
    flat: Params = {}
    for name, value in params.items():
        here = f"{place}.{name}" if place else name
        label = PATHS.get(here, name)
        prefix = f"{path}." if path else ""
        if callable(label):
            count = max((leaf.shape[0] for leaf in jax.tree.leaves(value)), default=0)
            for i in range(count):
                flat |= to_flat(one_layer(value, i), here, prefix + label(i))
        elif isinstance(value, dict):
            flat |= to_flat(value, here, prefix + label)
        else:
            flat[prefix + label] = value
    return flat


def filled(like: Params, flat: Params, place: str = "", path: str = "") -> Params:
    """A tree of the same form as `like`, of parameters by their paths in checkpoints."""
    tree: Params = {}
    for name, value in like.items():
        here = f"{place}.{name}" if place else name
        label = PATHS.get(here, name)
        prefix = f"{path}." if path else ""
        if callable(label):
            one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), value)
            count = max((leaf.shape[0] for leaf in jax.tree.leaves(value)), default=0)
            layers = [filled(one, flat, here, prefix + label(i)) for i in range(count)]
            tree[name] = stack_layers(layers) if layers else empty(value)
        elif isinstance(value, dict):
            tree[name] = filled(value, flat, here, prefix + label)
        else:
            tree[name] = jnp.asarray(flat[prefix + label])
    return tree


def empty(like: Params) -> Params:
    """No layers, of the form that they would have."""
    layers: Params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    return layers


def flatten(params: Params, path: str = "") -> Params:
    """Parameters by their paths in checkpoints."""
    flat: Params = {}
    for name, value in params.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{path}{name}.")
        else:
            flat[path + name] = value
    return flat


def arranged(like: Params, flat: Params, path: str = "") -> Params:
    """A tree of the same form as `like`, of parameters by their paths in checkpoints."""
    tree: Params = {}
    for name, value in like.items():
        part = path + name
        if isinstance(value, dict):
            tree[name] = arranged(value, flat, f"{part}.")
        else:
            tree[name] = jnp.asarray(flat[part])
    return tree


def one_layer(layers: Params, index: int) -> Params:
    """One of equal layers, which stand along the first axis of every leaf."""
    one: Params = jax.tree.map(lambda leaf: leaf[index], layers)
    return one


def stack_layers(layers: Sequence[Params]) -> Params:
    """Equal layers as one tree for `lax.scan`: they stand along the first axis of every leaf."""
    stacked: Params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    return stacked


def init_layers(init: Callable[[Array], Any], key: Array, count: int) -> Any:
    """Equal layers as one tree for `lax.scan`: they stand along the first axis of every leaf."""
    return jax.vmap(init)(jax.random.split(key, count))


def repeated(params: Any, count: int) -> Any:
    """The same for layers that all begin alike."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), params)


def in_two_trees(layers: dict[str, tuple[Params, State]]) -> tuple[Params, State]:
    """Parameters of layers by their names, and their state."""
    params = {name: each for name, (each, _) in layers.items()}
    return params, {name: each for name, (_, each) in layers.items()}


def split(key: Array | None, count: int) -> Sequence[Array | None]:
    """Keys for several draws; none where no key is given, as outside of training."""
    return [None] * count if key is None else list(jax.random.split(key, count))


def layer_keys(key: Array | None, count: int) -> Array | None:
    """A key for each of several layers, if one is given."""
    return None if key is None else jax.random.split(key, count)


def step_keys(key: Array | None, count: int) -> Array | None:
    """A key for each step of a scan, if one is given."""
    return None if key is None else jax.random.split(key, count)


def fold_in(key: Array | None, number: int) -> Array | None:
    """A key of its own for a turn of a loop, if one is given."""
    return None if key is None else jax.random.fold_in(key, number)


def linear(params: Params, x: Array) -> Array:
    """x @ weight.T + bias."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def layer_norm(params: Params, x: Array, *, eps: float = 1e-5) -> Array:
    """x with mean 0 and variance 1 over its last axis, scaled and shifted."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.var(x, axis=-1, keepdims=True)
    y = (x - mean) * lax.rsqrt(variance + eps) * params["weight"]
    return y + params["bias"] if "bias" in params else y


def rms_norm(params: Params, x: Array, *, eps: float = 1e-6) -> Array:
    """x over its root mean square along the last axis, scaled."""
    return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps) * params["weight"]


def dropout(x: Array, *, p: float = 0.5, training: bool = False, key: Array | None = None) -> Array:
    """Zeroes a share p of the elements in training, and scales the others by 1 / (1 - p)."""
    if not training or p == 0:
        return x
    if key is None:
        raise ValueError("dropout needs a key in training")
    kept = jax.random.bernoulli(key, 1 - p, x.shape)
    return jnp.where(kept, x / (1 - p), 0) if p < 1 else jnp.zeros_like(x)


def conv1d(
    params: Params,
    x: Array,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Array:
    """Convolution of x: [B, c, L] with weight: [out, c, l].

    On a CPU, XLA is faster with channels last.
    """
    y = lax.conv_general_dilated(
        x.transpose(0, 2, 1),
        params["weight"].transpose(2, 1, 0),
        window_strides=(stride,),
        padding=((padding, padding),),
        rhs_dilation=(dilation,),
        dimension_numbers=("NHC", "HIO", "NHC"),
    )
    y = y + params["bias"] if "bias" in params else y
    return y.transpose(0, 2, 1)


def conv2d(
    params: Params,
    x: Array,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Array:
    """Convolution of x: [B, c, H, W] with weight: [out, c, h, w].

    On a CPU, XLA is faster with channels last.
    """
    y = lax.conv_general_dilated(
        x.transpose(0, 2, 3, 1),
        params["weight"].transpose(2, 3, 1, 0),
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    y = y + params["bias"] if "bias" in params else y
    return y.transpose(0, 3, 1, 2)


def convolve2d(
    x: Array,
    w: Array,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Array:
    """Convolution of x: [B, c, H, W] with w: [out, c, h, w].

    On a CPU, XLA is faster with channels last.
    """
    y = lax.conv_general_dilated(
        x.transpose(0, 2, 3, 1),
        w.transpose(2, 3, 1, 0),
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y.transpose(0, 3, 1, 2)


def grouped_conv(
    params: Params, x: Array, *, groups: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Array:
    """Convolution of x: [B, c, ...] in groups of channels with weight: [out, c / groups, ...]."""
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    y = grouped_convolve(x, params["weight"], groups=groups, **options)
    return y + params["bias"].reshape(-1, *(1,) * (x.ndim - 2)) if "bias" in params else y


def grouped_convolve(
    x: Array, w: Array, *, groups: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Array:
    """Convolution of x: [B, c, ...] in groups of channels with w: [out, c / groups, ...].

    Where each channel is a group, XLA on a CPU is many times faster with a sum over the places of
    the kernel.
    """
    axes = x.ndim - 2
    borders = ((padding, padding),) * axes

    def convolved(x: Array, w: Array) -> Array:
        names = "DHW"[-axes:]
        y = lax.conv_general_dilated(
            jnp.moveaxis(x, 1, -1),
            jnp.moveaxis(w, (0, 1), (-1, -2)),
            window_strides=(stride,) * axes,
            padding=borders,
            rhs_dilation=(dilation,) * axes,
            dimension_numbers=(f"N{names}C", f"{names}IO", f"N{names}C"),
            feature_group_count=groups,
        )
        return jnp.moveaxis(y, -1, 1)

    def summed(x: Array, w: Array) -> Array:
        x = jnp.pad(x, ((0, 0), (0, 0), *borders))
        sizes = zip(x.shape[2:], w.shape[2:], strict=True)
        reach = [size - dilation * (k - 1) for size, k in sizes]

        def term(*place: int) -> Array:
            starts = [dilation * at for at in place]
            windows = [slice(at, at + size, stride) for at, size in zip(starts, reach, strict=True)]
            return x[:, :, *windows] * w[:, 0, *place].reshape(-1, *(1,) * axes)

        return sum(itertools.starmap(term, itertools.product(*map(range, w.shape[2:]))))

    if groups == x.shape[1] == w.shape[0]:
        return lax.platform_dependent(x, w, cpu=summed, default=convolved)
    return convolved(x, w)


def conv_transpose(
    x: Array,
    w: Array,
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Array:
    """The transpose of convolution as a linear map. x: [B, in, ...], w: [in, out / groups, ...]."""
    inputs, outputs, *kernel = w.shape
    w = w.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    w = jnp.flip(w.reshape(groups * outputs, inputs // groups, *kernel), range(2, w.ndim - 1))
    before = [dilation * (k - 1) - padding for k in kernel]
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=(1,) * len(kernel),
        padding=[(each, each + output_padding) for each in before],
        lhs_dilation=(stride,) * len(kernel),
        rhs_dilation=(dilation,) * len(kernel),
        feature_group_count=groups,
    )


def uneven_conv_transpose(
    x: Array,
    w: Array,
    *,
    stride: Sequence[int],
    padding: Sequence[Sequence[int]],
    output_padding: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Array:
    """The transpose of convolution, by axis. x: [B, in, ...], w: [in, out / groups, ...]."""
    inputs, outputs, *kernel = w.shape
    w = w.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    w = jnp.flip(w.reshape(groups * outputs, inputs // groups, *kernel), range(2, w.ndim - 1))
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    ends = zip(reach, padding, output_padding, strict=True)
    borders = [(r - before, r - after + more) for r, (before, after), more in ends]
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=(1,) * len(kernel),
        padding=borders,
        lhs_dilation=stride,
        rhs_dilation=dilation,
        feature_group_count=groups,
    )


def max_pool2d(x: Array, kernel: int, *, stride: int, padding: int = 0) -> Array:
    """The greatest element of each window of x: [B, c, H, W]."""
    return lax.reduce_window(
        x,
        -jnp.inf,
        lax.max,
        window_dimensions=(1, 1, kernel, kernel),
        window_strides=(1, 1, stride, stride),
        padding=((0, 0), (0, 0), (padding, padding), (padding, padding)),
    )


def avg_pool2d(x: Array, kernel: int, *, stride: int, padding: int = 0) -> Array:
    """The mean of each window of x: [B, c, H, W]; the border counts as zeros."""
    total = lax.reduce_window(
        x,
        0.0,
        lax.add,
        window_dimensions=(1, 1, kernel, kernel),
        window_strides=(1, 1, stride, stride),
        padding=((0, 0), (0, 0), (padding, padding), (padding, padding)),
    )
    return total / kernel**2


def pool_borders(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    ceil: bool,
) -> list[tuple[int, int]]:
    """Zeros that pooling needs around the axes after [B, c]. With `ceil` a last window may hang
    over the end if it starts inside of x or the border before it."""
    borders = []
    for size, k, s, (before, after) in zip(sizes, kernel, stride, padding, strict=True):
        room = size + before + after - k
        last = min(-(-room // s), (size + before - 1) // s) if ceil else room // s
        borders.append((before, max(after, last * s + k - size - before)))
    return borders


def safe_sqrt(x: Array) -> Array:
    """The square root. Its derivative at 0 counts as 0, where that of `jnp.sqrt` is infinite."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def clamp(x: Array, min: float = -jnp.inf, max: float = jnp.inf) -> Array:
    """x between two bounds. Its derivative at a bound is 1, where that of `jnp.clip` is a half."""
    x = jnp.where(x < min, min, x)
    return jnp.where(x > max, max, x)


def integer_power(x: Array, n: Array) -> Array:
    """x to the power n, which wraps as products do: JAX reads the last six bits of n alone."""
    x, n = jnp.broadcast_arrays(x, n)
    bits = jnp.iinfo(n.dtype).bits

    def step(i: int, power: Array) -> Array:
        bit = (n >> jnp.astype(bits - 1 - i, n.dtype)) & 1
        return power * power * jnp.where(bit == 1, x, jnp.ones_like(x))

    return lax.fori_loop(0, bits, step, jnp.ones_like(x))


def indicator(mask: Array, dtype: DTypeLike) -> Array:
    """1 where `mask` is true, else 0.

    A product with `mask.astype(dtype)` becomes a choice in XLA, which takes 0 times nan for 0.
    """
    return jnp.where(mask, jnp.ones((), dtype), jnp.zeros((), dtype))


def top_k(x: Array, k: int, axis: int = -1) -> tuple[Array, Array]:
    """The k greatest elements along an axis, of equal ones the first, and their places.

    `lax.top_k` takes 0.0 before -0.0.
    """
    _, places = lax.top_k(lax.stop_gradient(jnp.where(x == 0, 0, x)), k, axis=axis)
    return jnp.take_along_axis(x, places, axis=axis), places


def max_pool(
    x: Array,
    kernel: Sequence[int],
    *,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    ceil: bool = False,
) -> Array:
    """The greatest element of each window over the axes after [B, c]."""
    borders = pool_borders(x.shape[2:], kernel, stride, padding, ceil)
    window = (1, 1, *kernel), (1, 1, *stride), ((0, 0), (0, 0), *borders)
    return lax.reduce_window(x, -jnp.inf, lax.max, *window)


def avg_pool(
    x: Array,
    kernel: Sequence[int],
    *,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    ceil: bool = False,
    count_padding: bool = True,
) -> Array:
    """The mean of each window over the axes after [B, c]; with `count_padding`, padding counts
    as zeros."""
    borders = pool_borders(x.shape[2:], kernel, stride, padding, ceil)
    window = (1, 1, *kernel), (1, 1, *stride)
    total = lax.reduce_window(x, 0.0, lax.add, *window, ((0, 0), (0, 0), *borders))
    counted = jnp.ones((1, 1, *x.shape[2:]), x.dtype)
    if count_padding:
        counted = jnp.pad(counted, ((0, 0), (0, 0), *padding), constant_values=1.0)
        borders = [(0, b - after) for (_, b), (_, after) in zip(borders, padding, strict=True)]
    return total / lax.reduce_window(counted, 0.0, lax.add, *window, ((0, 0), (0, 0), *borders))


def upsample_nearest(x: Array, scale: int) -> Array:
    """x: [B, c, ...] with each element `scale` times along every axis after these."""
    for axis in range(2, x.ndim):
        x = jnp.repeat(x, scale, axis)
    return x


def interpolate(
    x: Array,
    size: Sequence[int],
    *,
    scale: Sequence[float] = (),
    mode: str = "nearest",
    align_corners: bool = False,
) -> Array:
    """x: [B, c, ...] resized to `size`, by the numbers of torch.nn.functional.interpolate. New
    elements are 1 / scale apart where a scale is given."""
    for axis, new in enumerate(size, start=2):
        old = x.shape[axis]
        step = 1 / scale[axis - 2] if scale else old / new
        if align_corners:
            step = (old - 1) / max(new - 1, 1)
        places = jnp.arange(new, dtype=jnp.promote_types(x.dtype, jnp.float32))
        centred = not (align_corners or mode == "nearest")
        at = (places + 0.5) * step if centred else places * step
        if mode.startswith("nearest"):
            x = jnp.take(x, jnp.minimum(jnp.floor(at).astype(int), old - 1), axis)
            continue
        at = at - 0.5 if centred else at
        at = at if mode == "bicubic" else jnp.maximum(at, 0)
        low = jnp.floor(at)
        t = (at - low).astype(x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))
        weights = cubic_weights(t) if mode == "bicubic" else (1 - t, t)
        first = low.astype(int) - (mode == "bicubic")
        near = (jnp.clip(first + i, 0, old - 1) for i in range(len(weights)))
        parts = (jnp.take(x, each, axis) * w for each, w in zip(near, weights, strict=True))
        x = sum(parts, start=jnp.zeros((), x.dtype))
    return x


def cubic_weights(t: Array) -> tuple[Array, ...]:
    """The weights of four elements for a place t behind the second (Keys, 1981), a = -0.75."""

    def near(d: Array) -> Array:
        return (1.25 * d - 2.25) * d * d + 1

    def far(d: Array) -> Array:
        return ((-0.75 * d + 3.75) * d - 6) * d + 3

    return far(1 + t), near(t), near(1 - t), far(2 - t)


def along(index: Array, axis: int) -> tuple[Array, ...]:
    """Full coordinates of every element of `index`, whose values are those along `axis`."""
    places = list(jnp.indices(index.shape, sparse=True))
    places[axis] = index
    return tuple(places)


def require(condition: Array, message: str) -> None:
    """Raises ValueError where the condition does not hold; from within `jit`, an error of JAX's
    that tells of it."""

    def check(holds: Array) -> None:
        if not holds:
            raise ValueError(message)

    if isinstance(condition, jax.core.Tracer):  # called where it fails alone: each call costs time
        lax.cond(condition, lambda: None, lambda: jax.debug.callback(check, condition))
    else:
        check(condition)
