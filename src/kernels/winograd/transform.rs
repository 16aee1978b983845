//! Transforms of Winograd's algorithm, by the paper's matrices, for the channels of a tile at a
//! time. The loops over channels have fixed lengths, so that the compiler turns them into vector
//! instructions.

use std::array::from_fn;

/// Matrix `G`: `U = G g G^T`.
pub(super) const FILTER_TRANSFORM: [[f32; 3]; 4] =
    [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// Matrix `B^T`: `V = B^T d B`. Each row has two entries that are not 0: the first place has a 1,
/// and the second place has this sign.
pub(super) const INPUT_TRANSFORM: [(usize, usize, f32); 4] =
    [(0, 2, -1.0), (1, 2, 1.0), (2, 1, -1.0), (1, 3, -1.0)];

/// Matrix `A^T`: `Y = A^T M A`.
pub(super) const OUTPUT_TRANSFORM: [OutputTransformRow; 2] = [
    OutputTransformRow { first: 0, others: [1, 2], sign: 1.0 },
    OutputTransformRow { first: 1, others: [2, 3], sign: -1.0 },
];

/// Row of `A^T`. It has three entries that are not 0: the place `first` has a 1, and the places
/// `others` have this sign.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutputTransformRow {
    pub(super) first: usize,
    pub(super) others: [usize; 2],
    pub(super) sign: f32,
}

/// Channels that are transformed at a time, in vector registers.
const LANES: usize = 16;

/// Computes one row of `U` for one output channel: from its `kernels` `[input channels, 3, 3]` and
/// a row of `G` the four filters of the row, `[input channels]` each.
pub(super) fn transform_filters(
    kernels: &[f32],
    row_coefficients: [f32; 3],
    transformed_filters: [&mut [f32]; 4],
) {
    let [a, b, c, d] = transformed_filters;
    let transformed_values = a.iter_mut().zip(b).zip(c.iter_mut().zip(d));
    for (kernel, ((a, b), (c, d))) in kernels.chunks_exact(9).zip(transformed_values) {
        let transformed_row: [f32; 3] = from_fn(|column| {
            row_coefficients[0] * kernel[column]
                + row_coefficients[1] * kernel[3 + column]
                + row_coefficients[2] * kernel[6 + column]
        });
        for (value, column_coefficients) in [a, b, c, d].into_iter().zip(FILTER_TRANSFORM) {
            *value = column_coefficients[0] * transformed_row[0]
                + column_coefficients[1] * transformed_row[1]
                + column_coefficients[2] * transformed_row[2];
        }
    }
}

/// Computes one row of `V` for one tile: from two rows of four inputs `[channels]`, of which the
/// second is multiplied by `sign`, the four values `[channels]` of the row.
pub(super) fn transform_inputs(
    inputs: [[&[f32]; 4]; 2],
    sign: f32,
    transformed: &mut [&mut [f32]; 4],
) {
    fn transform_chunk<const N: usize>(
        [first, second]: [[&[f32]; 4]; 2],
        sign: f32,
        transformed: &mut [&mut [f32]; 4],
        channel: usize,
    ) {
        let combined_row: [[f32; N]; 4] = from_fn(|column| {
            let (first, second) =
                (load_lanes::<N>(first[column], channel), load_lanes::<N>(second[column], channel));
            from_fn(|lane| first[lane] + sign * second[lane])
        });
        for (output, (first, second, sign)) in transformed.iter_mut().zip(INPUT_TRANSFORM) {
            let (first, second) = (combined_row[first], combined_row[second]);
            store_lanes(
                output,
                channel,
                from_fn::<_, N, _>(|lane| first[lane] + sign * second[lane]),
            );
        }
    }
    let channels = transformed[0].len();
    let chunked_len = channels / LANES * LANES;
    (0..chunked_len)
        .step_by(LANES)
        .for_each(|channel| transform_chunk::<LANES>(inputs, sign, transformed, channel));
    (chunked_len..channels)
        .for_each(|channel| transform_chunk::<1>(inputs, sign, transformed, channel));
}

/// Share of a row of `M` in one output.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutputContribution {
    /// Row of `A^T` that gives the output's column.
    pub(super) column: OutputTransformRow,
    /// Entry of `A^T` for the output's row.
    pub(super) sign: f32,
    /// Adds the share to the output, instead of overwriting it.
    pub(super) accumulate: bool,
    pub(super) relu: bool,
}

/// Computes the share of a row of `M`, four products `[output channels]`, in one output of a tile.
pub(super) fn transform_outputs(
    products: [&[f32]; 4],
    contribution: OutputContribution,
    out: &mut [f32],
) {
    fn transform_chunk<const N: usize>(
        products: [&[f32]; 4],
        contribution: OutputContribution,
        out: &mut [f32],
        channel: usize,
    ) {
        let OutputContribution {
            column: OutputTransformRow { first, others: [second, third], sign: column_sign },
            sign,
            ..
        } = contribution;
        let [first, second, third] =
            [first, second, third].map(|index| load_lanes::<N>(products[index], channel));
        let mut values =
            if contribution.accumulate { load_lanes::<N>(out, channel) } else { [0.0; N] };
        for (lane, value) in values.iter_mut().enumerate() {
            *value += sign * (first[lane] + column_sign * (second[lane] + third[lane]));
        }
        store_lanes(
            out,
            channel,
            if contribution.relu { values.map(|sum| sum.max(0.0)) } else { values },
        );
    }
    let out_channels = out.len();
    let chunked_len = out_channels / LANES * LANES;
    (0..chunked_len)
        .step_by(LANES)
        .for_each(|channel| transform_chunk::<LANES>(products, contribution, out, channel));
    (chunked_len..out_channels)
        .for_each(|channel| transform_chunk::<1>(products, contribution, out, channel));
}

/// Loads `N` values from `start` on.
#[inline]
fn load_lanes<const N: usize>(values: &[f32], start: usize) -> [f32; N] {
    values.get(start..).and_then(<[f32]>::first_chunk).copied().unwrap_or([0.0; N])
}

/// Stores `N` values from `start` on.
#[inline]
fn store_lanes<const N: usize>(values: &mut [f32], start: usize, lanes: [f32; N]) {
    if let Some(values) = values.get_mut(start..).and_then(<[f32]>::first_chunk_mut) {
        *values = lanes;
    }
}
