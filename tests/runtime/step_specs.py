"""Train blocks whose turns are more than one update: several steps, copies of networks, parameters that the block writes."""

from __future__ import annotations

import dlc
from dlc.spec import TrainBlock

NETWORKS = """
module Body(d: int)(x: [B, 4]) -> [B, d] {
    return x |> linear(8) |> batch_norm |> relu |> dropout(0.2) |> linear(d)
}

model Net(d: int = 3)(x: [B, 4]) -> [B, d] {
    return x |> Body(d) as body
}

model Critic()(x: [B, 3]) -> [B] {
    return x |> linear(8) |> dropout(0.3) |> relu |> linear(1) |> squeeze(axis=-1)
}

model Scaled()(x: [B, 4]) -> [B, 3] {
    param scale: [] = 3.0
    return (x |> linear(3) as fc) * exp(scale)
}

module slowing(beta: float = 0.9)(p: [*S], g: [*S], t: i64[], lr: []) -> [*S] {
    buffer mean: [*S] = zeros
    new = mean * beta + g
    update mean = new
    return p - lr * new / cast(t, float)
}
"""
DATA = "batch (x: [B, 4], label: i64[B]) from synthetic(batch=8)"
BLOCKS = {
    "a generator and its critic": """
    G = Net()
    D = Critic()
    smooth = ema(G, decay=0.8)
    y = G(x)
    step critic updates D with adam(lr=1e-2) {
        minimize mean(softplus(D(stop_gradient(y)))) + mean(softplus(-D(x[:, :3])))
        metric sure = mean(D(stop_gradient(y)) > 0.0)
    }
    step generator updates G with sgd(lr=1e-2, momentum=0.9) every 2 {
        minimize mean(softplus(-D(y)))
    }
    metric size = mean(abs(smooth(x)))
    metric calm = mean(eval(D)(y))
    """,
    "both modes of a network in one step": """
    net = Net()
    D = Critic()
    step first updates D with adam(lr=1e-2) {
        y = net(x)
        minimize mean(D(stop_gradient(y))) - mean(eval(D)(y)) + mean(eval(net)(x))
    }
    step second updates net with sgd(lr=1e-2) {
        minimize cross_entropy(net(x), label) + mean(D(net(x)))
    }
    """,
    "a teacher": """
    net = Net()
    teacher = frozen(net)
    minimize kl_div(log_softmax(net(x), axis=-1), softmax(teacher(x), axis=-1))
    optimizer = adam(lr=1e-2)
    """,
    "a slow copy and a queue": """
    net = Net()
    slow = ema(net, decay=0.9, training=true)
    buffer queue: [16, 3] = zeros
    key = stop_gradient(slow(x))
    minimize mean((net(x) - key) ** 2) + mean(net(x) @ queue.T)
    update queue = concat([key, queue], axis=0)[:16]
    optimizer = sgd(lr=1e-2, momentum=0.9)
    """,
    "parameters within bounds": """
    net = Scaled()
    follows = ema(net, decay=0.5)
    minimize cross_entropy(net(x), label)
    metric other = mean(abs(follows(x)))
    optimizer = sgd(lr=0.5, momentum=0.9)
    update net.scale = clamp(net.scale, min=2.5, max=2.9)
    update net.fc.weight = clamp(net.fc.weight, min=-0.3, max=0.3)
    """,
    "several turns of a step": """
    policy = Scaled()
    noise = uniform([B, 3])
    old = stop_gradient(log_softmax(policy(x), axis=-1))
    action = argmax(old - log(-log(noise)), axis=-1)
    step learn updates policy with adam(lr=linear(1e-2)) repeat 3 {
        ratio = exp(log_softmax(policy(x), axis=-1) - old)
        jitter = normal([B, 3]) * 0.01
        chosen = minimum(ratio, clamp(ratio, min=0.8, max=1.2)) * cast(one_hot(action, 3), float)
        minimize -mean(chosen + jitter * policy(x))
    }
    metric far = mean(abs(old))
    """,
    "steps at their own pace, on the same networks": """
    a = Net()
    b = Scaled()
    shared = a(x)
    step one updates a with adam(lr=1e-2) {
        minimize cross_entropy(shared, label)
    }
    step two updates b with sgd(lr=1e-1, momentum=0.9) every 2 repeat 2 {
        minimize cross_entropy(b(x) + stop_gradient(shared), label)
    }
    step both updates a, b with adamw(lr=1e-2) every 3 {
        optimizer linear.bias = sgd(lr=1e-2)
        minimize cross_entropy(a(x) * b(x), label)
        metric hits = mean(argmax(b(x), axis=-1) == label)
    }
    """,
    "optimizers of the library and the spec": """
    a = Net()
    b = Scaled()
    step one updates a with lion(lr=1e-3) {
        minimize cross_entropy(a(x), label)
    }
    step two updates b.fc with slowing(lr=1e-2) repeat 2 {
        minimize cross_entropy(b(x), label)
    }
    step three updates a, b with adafactor() {
        minimize cross_entropy(a(x) + b(x), label)
    }
    """,
    "copies of copies": """
    a = Scaled()
    first = frozen(a)
    second = frozen(first)
    follows = ema(a, decay=0.5)
    minimize cross_entropy(a(x) + eval(follows)(x) * 0.1, label)
    metric apart = mean(abs(first(x) - second(x))) + mean(abs(a(x)))
    optimizer = adam()
    """,
    "buffers in and out of steps": """
    a = Scaled()
    buffer turns: [] = zeros
    buffer level: [3] = zeros
    update turns = turns + 1.0
    step one updates a with sgd(lr=0.1) repeat 2 {
        y = a(x)
        minimize cross_entropy(y, label) * (1.0 + 0.01 * turns) + 0.01 * mean(y * level)
        update level = mean(y, axis=0)
    }
    metric count = turns
    """,
    "constants of the batch's size": """
    a = Scaled()
    weight = cast(arange(B), float) / cast(B, float)
    step one updates a with sgd(lr=0.1) {
        minimize mean(weight * a(x)[:, 0])
    }
    step two updates a with sgd(lr=0.1) {
        minimize mean(weight[:, none] * square(a(x)))
    }
    metric first = x[0, 0]
    """,
    "a penalty on a slope": """
    net = Scaled()
    D = Critic()
    step critic updates D with adam(lr=1e-2) {
        y = stop_gradient(net(x))
        slope = gradient(sum(D(y)), y)
        minimize mean(D(y) ** 2) + mean((sqrt(sum(slope * slope, axis=-1) + 1e-6) - 1.0) ** 2)
    }
    step other updates net with sgd(lr=1e-2) {
        minimize -mean(D(net(x)))
    }
    """,
}


def spec(block: str, settings: str = "steps = 5") -> TrainBlock:
    body = f"train t {{\n    {DATA}\n{BLOCKS[block]}\n    settings {{ {settings} }}\n}}\n"
    found: TrainBlock = dlc.loads(f"{NETWORKS}\n{body}")["t"]
    return found
