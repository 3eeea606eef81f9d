"""Winograd's minimal filtering: convolutions with fewer multiplications, by transforming small tiles.

    Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A        (Winograd 1980; Lavin and Gray 2015, arXiv:1509.09308)

d is a tile of the input, g the filter and Y a tile of the output. F(m, r) computes m outputs of an r-tap filter from
m + r − 1 products.

    matrices.py     Aᵀ, G and Bᵀ in exact fractions, for stride 1 and 2
    transforms.py   the instructions that multiply vectors by such a matrix
    tiles.py        the form of the tiles of a convolution: outputs, taps and products along each axis
    packing.py      the kernel of the transformed filters
    convolution.py  the kernels of the convolution and its input gradient
    wide.py         the same for so many channels that the transformed filters fill the cache
    gradient.py     the kernels of the weight gradient

Along the depth, nothing is transformed: the planes of a filter are summed like input channels.
"""
