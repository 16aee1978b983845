//! Adaptive average pooling, which ONNX has not: two matrix products whose matrices are computed from
//! the map's size when the network runs, so that it may be any.
//!
//! Window `i` of `n` over a side of `s` pixels goes from `floor(i s / n)` to `ceil((i + 1) s / n)`
//! (PyTorch's `AdaptiveAvgPool2d`). Row `i` of the matrix holds one over the window's length inside it
//! and zero elsewhere.

use super::Writer;
use super::proto::{AttributeProto, FLOAT};

impl Writer<'_> {
    pub(super) fn adaptive_average_pool(&mut self, side: i64, x: &str, name: &str) {
        let rows = self.windows(side, x, 2, &format!("{name}.rows"));
        let columns = self.windows(side, x, 3, &format!("{name}.columns"));
        let [turned, pooled] = ["turned", "pooled"].map(|part| format!("{name}.{part}"));
        self.node("Transpose", &[&columns], &turned, &[]);
        // [n, height] x [batch, channels, height, width] x [width, n].
        self.node("MatMul", &[&rows, x], &pooled, &[]);
        self.node("MatMul", &[&pooled, &turned], name, &[]);
    }

    /// The matrix `[n, s]` for one axis of `x`; its name.
    fn windows(&mut self, side: i64, x: &str, axis: i64, name: &str) -> String {
        let first: Vec<i64> = (0..side).collect();
        let next: Vec<i64> = (1..=side).collect();
        let constants = ["first", "next", "side", "round_up"].map(|part| format!("{part}_{side}"));
        let [first_name, next_name, side_name, up] = constants.each_ref().map(String::as_str);
        self.integers(first_name, &[side, 1], &first);
        self.integers(next_name, &[side, 1], &next);
        self.integers(side_name, &[1], &[side]);
        self.integers(up, &[1], &[side - 1]);
        self.integers("zero", &[], &[0]);
        self.integers("one", &[], &[1]);
        let part = |part: &str| format!("{name}.{part}");
        let length = part("length");
        let range = [AttributeProto::int("start", axis), AttributeProto::int("end", axis + 1)];
        self.node("Shape", &[x], &length, &range);
        let mut step = |op: &str, inputs: &[&str], output: &str| {
            let output = part(output);
            self.node(op, inputs, &output, &[]);
            output
        };

        let scalar = step("Squeeze", &[&length], "scalar");
        let positions = step("Range", &["zero", &scalar, "one"], "positions");
        let scaled = step("Mul", &[first_name, &length], "scaled");
        let starts = step("Div", &[&scaled, side_name], "starts");
        let scaled = step("Mul", &[next_name, &length], "scaled_next");
        let raised = step("Add", &[&scaled, up], "raised");
        let ends = step("Div", &[&raised, side_name], "ends");
        let behind = step("GreaterOrEqual", &[&positions, &starts], "behind");
        let before = step("Less", &[&positions, &ends], "before");
        let inside = step("And", &[&behind, &before], "inside");
        let count = step("Sub", &[&ends, &starts], "count");

        let float = [AttributeProto::int("to", i64::from(FLOAT))];
        let [ones, counts] = ["ones", "counts"].map(part);
        self.node("Cast", &[&inside], &ones, &float);
        self.node("Cast", &[&count], &counts, &float);
        self.node("Div", &[&ones, &counts], name, &[]);
        name.to_owned()
    }
}
