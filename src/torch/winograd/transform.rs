//! The transformations before and after the products: the paper's matrices, for the channels of a tile at a time.

use std::array::from_fn;

/// Matrix G of the paper: filters are transformed by it from both sides.
pub(super) const FILTER: [[f32; 3]; 4] =
    [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// The transpose of B: inputs are transformed by it from both sides. Of four neighbours the second named is added, with
/// its sign, to the first.
pub(super) const INPUT: [(usize, usize, f32); 4] =
    [(0, 2, -1.0), (1, 2, 1.0), (2, 1, -1.0), (1, 3, -1.0)];

/// The transpose of A: products are transformed by it from both sides.
pub(super) const OUTPUT: [Output; 2] = [
    Output { first: 0, others: [1, 2], sign: 1.0 },
    Output { first: 1, others: [2, 3], sign: -1.0 },
];

/// A row of that matrix: of four neighbours the others are added, with their sign, to the first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) first: usize,
    pub(super) others: [usize; 2],
    pub(super) sign: f32,
}

/// Channels that are summed at a time.
const LANES: usize = 16;

/// One row of the 16 transformed filters `[input]` of each of the `[input, 3, 3]` of an output.
pub(super) fn transform_filters(weights: &[f32], down: [f32; 3], filters: [&mut [f32]; 4]) {
    let [a, b, c, d] = filters;
    let filters = a.iter_mut().zip(b).zip(c.iter_mut().zip(d));
    for (nine, ((a, b), (c, d))) in weights.chunks_exact(9).zip(filters) {
        let three: [f32; 3] =
            from_fn(|at| down[0] * nine[at] + down[1] * nine[3 + at] + down[2] * nine[6 + at]);
        for (filter, across) in [a, b, c, d].into_iter().zip(FILTER) {
            *filter = across[0] * three[0] + across[1] * three[1] + across[2] * three[2];
        }
    }
}

/// The four sums of a tile: of four neighbours in each of two rows, of which the second is added with this sign.
pub(super) fn transform_inputs(inputs: [[&[f32]; 4]; 2], sign: f32, sums: &mut [&mut [f32]; 4]) {
    fn some<const N: usize>(
        [first, second]: [[&[f32]; 4]; 2],
        sign: f32,
        sums: &mut [&mut [f32]; 4],
        at: usize,
    ) {
        let four: [[f32; N]; 4] = from_fn(|input| {
            let (first, second) = (lanes::<N>(first[input], at), lanes::<N>(second[input], at));
            from_fn(|lane| first[lane] + sign * second[lane])
        });
        for (sums, (first, second, sign)) in sums.iter_mut().zip(INPUT) {
            let (first, second) = (four[first], four[second]);
            put(sums, at, from_fn::<_, N, _>(|lane| first[lane] + sign * second[lane]));
        }
    }
    let channels = sums[0].len();
    let whole = channels / LANES * LANES;
    (0..whole).step_by(LANES).for_each(|at| some::<LANES>(inputs, sign, sums, at));
    (whole..channels).for_each(|at| some::<1>(inputs, sign, sums, at));
}

/// What a row of a tile's products is to one of its outputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) across: Output,
    pub(super) sign: f32,
    /// Whether it is added to what is there.
    pub(super) onto: bool,
    pub(super) relu: bool,
}

/// One share of an output of a tile, from four neighbouring products.
pub(super) fn transform_outputs(products: [&[f32]; 4], share: Share, out: &mut [f32]) {
    fn some<const N: usize>(products: [&[f32]; 4], share: Share, out: &mut [f32], at: usize) {
        let Share { across: Output { first, others: [second, third], sign: within }, sign, .. } =
            share;
        let [first, second, third] = [first, second, third].map(|of| lanes::<N>(products[of], at));
        let mut sums = if share.onto { lanes::<N>(out, at) } else { [0.0; N] };
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += sign * (first[lane] + within * (second[lane] + third[lane]));
        }
        put(out, at, if share.relu { sums.map(|sum| sum.max(0.0)) } else { sums });
    }
    let outputs = out.len();
    let whole = outputs / LANES * LANES;
    (0..whole).step_by(LANES).for_each(|at| some::<LANES>(products, share, out, at));
    (whole..outputs).for_each(|at| some::<1>(products, share, out, at));
}

/// Some values from `at` on.
#[inline]
fn lanes<const N: usize>(values: &[f32], at: usize) -> [f32; N] {
    values.get(at..).and_then(<[f32]>::first_chunk).copied().unwrap_or([0.0; N])
}

/// Writes values from `at` on.
#[inline]
fn put<const N: usize>(values: &mut [f32], at: usize, new: [f32; N]) {
    if let Some(values) = values.get_mut(at..).and_then(<[f32]>::first_chunk_mut) {
        *values = new;
    }
}
