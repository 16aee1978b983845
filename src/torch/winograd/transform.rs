//! The transformations before and after the products: the paper's matrices, for the channels of a tile at a time.

use std::array::from_fn;

/// Matrix G of the paper: filters are transformed by it from both sides.
pub(super) const FILTER_TRANSFORM: [[f32; 3]; 4] =
    [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// The transpose of B: inputs are transformed by it from both sides. Of four neighbors the second named is added, with
/// its sign, to the first.
pub(super) const INPUT_TRANSFORM: [(usize, usize, f32); 4] =
    [(0, 2, -1.0), (1, 2, 1.0), (2, 1, -1.0), (1, 3, -1.0)];

/// The transpose of A: products are transformed by it from both sides.
pub(super) const OUTPUT_TRANSFORM: [OutputTransformRow; 2] = [
    OutputTransformRow { first: 0, others: [1, 2], sign: 1.0 },
    OutputTransformRow { first: 1, others: [2, 3], sign: -1.0 },
];

/// A row of that matrix: of four neighbors the others are added, with their sign, to the first.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutputTransformRow {
    pub(super) first: usize,
    pub(super) others: [usize; 2],
    pub(super) sign: f32,
}

/// Channels that are summed at a time.
const LANES: usize = 16;

/// One row of the 16 transformed filters `[input]` of each of the `[input, 3, 3]` of an output.
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

/// The four sums of a tile: of four neighbors in each of two rows, of which the second is added with this sign.
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

/// What a row of a tile's products is to one of its outputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutputContribution {
    pub(super) column: OutputTransformRow,
    pub(super) sign: f32,
    /// Whether it is added to what is there.
    pub(super) accumulate: bool,
    pub(super) relu: bool,
}

/// One share of an output of a tile, from four neighboring products.
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

/// Some values from `at` on.
#[inline]
fn load_lanes<const N: usize>(values: &[f32], start: usize) -> [f32; N] {
    values.get(start..).and_then(<[f32]>::first_chunk).copied().unwrap_or([0.0; N])
}

/// Writes values from `at` on.
#[inline]
fn store_lanes<const N: usize>(values: &mut [f32], start: usize, lanes: [f32; N]) {
    if let Some(values) = values.get_mut(start..).and_then(<[f32]>::first_chunk_mut) {
        *values = lanes;
    }
}
