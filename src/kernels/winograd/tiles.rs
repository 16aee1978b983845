//! Positions of tiles on a batch of images; the drawing is in the module above.

/// Layout of tiles of 2x2 outputs on the images of a batch, which all have this size.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels) struct TileGrid {
    /// Height and width of an image, in pixels.
    height: usize,
    width: usize,
    dilation: usize,
}

/// A tile and the memory of its outputs.
pub(super) struct Tile<'a> {
    /// Index of the tile in the batch.
    pub(super) index: usize,
    /// Channels of the 2x2 outputs; `None` outside of the image.
    pub(super) output_pixels: [[Option<&'a mut [f32]>; 2]; 2],
}

/// Position of an input in its tile, 0 to 3 in each direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileInput {
    pub(super) row: usize,
    pub(super) column: usize,
}

impl TileGrid {
    pub(in crate::kernels) fn new(height: i64, width: i64, dilation: i64) -> Self {
        Self { height: height as usize, width: width as usize, dilation: dilation as usize }
    }

    /// Returns the number of rows and of columns of tiles of an image.
    pub(in crate::kernels) fn tile_counts(self) -> (usize, usize) {
        (self.tiles_along(self.height), self.tiles_along(self.width))
    }

    /// Returns the number of tiles along a side of so many pixels.
    fn tiles_along(self, side: usize) -> usize {
        side.div_ceil(2 * self.dilation) * self.dilation
    }

    /// Returns the index of a tile's input among the pixels of the batch, or `None` outside of its
    /// image.
    pub(super) fn pixel(self, tile: usize, input: TileInput) -> Option<usize> {
        let (rows, columns) = self.tile_counts();
        let (image, tile_row, tile_column) =
            (tile / columns / rows, tile / columns % rows, tile % columns);
        let y = self.coordinate(tile_row, input.row, self.height)?;
        let x = self.coordinate(tile_column, input.column, self.width)?;
        Some((image * self.height + y) * self.width + x)
    }

    /// Returns the coordinate of an input, 0 to 3, of a tile along a side of so many pixels, or
    /// `None` outside of the side.
    fn coordinate(self, tile: usize, input: usize, side: usize) -> Option<usize> {
        // Groups of `dilation` tiles have interleaved inputs.
        let first_output = tile / self.dilation * 2 * self.dilation + tile % self.dilation;
        let position = (first_output + input * self.dilation).checked_sub(self.dilation)?;
        if position < side { Some(position) } else { None }
    }

    /// Lists all tiles of a batch, with the memory of their outputs in `pixels`
    /// `[batch, height, width, channels]`.
    pub(super) fn tiles(self, batch: usize, pixels: &mut [f32], channels: usize) -> Vec<Tile<'_>> {
        let mut pixels: Vec<_> = pixels.chunks_mut(channels.max(1)).map(Some).collect();
        let (rows, columns) = self.tile_counts();
        let count = batch * rows * columns;
        let mut tiles = Vec::with_capacity(count);
        for index in 0..count {
            let mut output_pixels = [[None, None], [None, None]];
            // The outputs lie at the second and the third input of each direction.
            for (row, output_row) in (1..).zip(&mut output_pixels) {
                for (column, output) in (1..).zip(output_row) {
                    if let Some(pixel) = self.pixel(index, TileInput { row, column }) {
                        *output = pixels.get_mut(pixel).and_then(Option::take);
                    }
                }
            }
            tiles.push(Tile { index, output_pixels });
        }
        tiles
    }
}
