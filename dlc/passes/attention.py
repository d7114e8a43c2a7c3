"""A product, a softmax and a product are attention, which backends have in one piece.

Before:

    fn softmax_1(%x: [B, T, U]) -> (y: %y)
        source softmax
        library
    {
        %top: [B, T, 1] = max(%x) {axis=[2], keepdims=true}
        %low: [B, T, U] = sub(%x, %top)
        %e: [B, T, U] = exp(%low)
        %total: [B, T, 1] = sum(%e) {axis=[2], keepdims=true}
        %y: [B, T, U] = div(%e, %total)
    }
    model Net(%q: [B, T, 8], %k: [B, U, 8], %v: [B, U, 8]) -> (y: %y) {
        %turned: [B, 8, U] = permute(%k) {axes=[0, 2, 1]}
        %products: [B, T, U] = matmul(%q, %turned)
        %scale: [] = const() {value=0.5}
        %scores: [B, T, U] = mul(%products, %scale)
        %shares: [B, T, U] = softmax(%scores) {axis=-1} -> softmax_1 [B=B, T=T, U=U]
        %y: [B, T, 8] = matmul(%shares, %v)
    }

After, with what the library makes of `attention` for these types, and without dead code:

    model Net(%q: [B, T, 8], %k: [B, U, 8], %v: [B, U, 8]) -> (y: %y) {
        %y: [B, T, 8] = attention(%q, %k, %v, _, _) {causal=false, window=none, scale=0.5, softcap=none} -> attention_1 [B=B, T=T, U=U]
    }
"""
