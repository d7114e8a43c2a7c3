"""Specs whose loops are whole in what is emitted, for every backend that writes source."""

# Several values go on from turn to turn, and the last turn has other parts.
STREAMS = """
module Block(last: bool)(x: [B, T, d], y: [B, S, d]) -> (x: [B, T, d], y: [B, S, d] = none) {
    x = x + (x |> linear(d) as a) * mean(y, axis=1, keepdims=true)
    if last { return x }
    return x, y |> linear(d) as b
}

model M(layers: int = 4, d: int = 8)(x: [B, T, d], y: [B, S, d]) -> [B, T, d] {
    for i in range(layers) as blocks { x, y = x |> Block(i == layers - 1)(y) }
    return x
}
"""

# Turns differ by what an `if` on the variable gives a module.
EVERY = """
module Block(scale: float, window: int = none)(x: [B, d]) -> [B, d] {
    h = x |> linear(d) as fc
    if window != none { h = h * window }
    return x + h * scale
}

model M(layers: int = 7, d: int = 8, every: int = 3, window: int = 5)(x: [B, d]) -> [B, d] {
    for i in range(layers) as blocks {
        if (i + 1) % every == 0 { x = x |> Block(2.0) } else { x = x |> Block(0.5, window) }
    }
    return x
}
"""
