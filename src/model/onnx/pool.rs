//! Adaptive average pooling, which ONNX lacks, as two matrix products. Their matrices are computed
//! from the map's size when the network runs, so that the size may be any.
//!
//! Window `i` of `n` over a side of `s` pixels goes from `floor(i s / n)` to `ceil((i + 1) s / n)`
//! (PyTorch's `AdaptiveAvgPool2d`). Row `i` of the matrix holds one over the window's length inside
//! the window and zero elsewhere.

use super::GraphWriter;
use super::proto::{AttributeProto, DATA_TYPE_FLOAT};

impl GraphWriter<'_> {
    pub(super) fn add_adaptive_average_pool(&mut self, side: i64, x: &str, name: &str) {
        let rows = self.add_window_matrix(side, x, 2, &format!("{name}.rows"));
        let columns = self.add_window_matrix(side, x, 3, &format!("{name}.columns"));
        let (transposed_columns, pooled) = (format!("{name}.turned"), format!("{name}.pooled"));
        self.add_node("Transpose", &[&columns], &transposed_columns, &[]);
        // [n, height] x [batch, channels, height, width] x [width, n].
        self.add_node("MatMul", &[&rows, x], &pooled, &[]);
        self.add_node("MatMul", &[&pooled, &transposed_columns], name, &[]);
    }

    /// Adds the matrix `[side, s]` for an axis of `x` with `s` pixels, and returns its name.
    fn add_window_matrix(&mut self, side: i64, x: &str, axis: i64, name: &str) -> String {
        let first_name = format!("first_{side}");
        let next_name = format!("next_{side}");
        let side_name = format!("side_{side}");
        let round_up_name = format!("round_up_{side}");
        self.add_integers(&first_name, &[side, 1], &(0..side).collect::<Vec<i64>>());
        self.add_integers(&next_name, &[side, 1], &(1..=side).collect::<Vec<i64>>());
        self.add_integers(&side_name, &[1], &[side]);
        self.add_integers(&round_up_name, &[1], &[side - 1]);
        self.add_integers("zero", &[], &[0]);
        self.add_integers("one", &[], &[1]);
        let length = format!("{name}.length");
        let range = [AttributeProto::int("start", axis), AttributeProto::int("end", axis + 1)];
        self.add_node("Shape", &[x], &length, &range);
        let mut add_step = |op: &str, inputs: &[&str], output: &str| {
            let output = format!("{name}.{output}");
            self.add_node(op, inputs, &output, &[]);
            output
        };

        let scalar = add_step("Squeeze", &[&length], "scalar");
        let positions = add_step("Range", &["zero", &scalar, "one"], "positions");
        let scaled = add_step("Mul", &[&first_name, &length], "scaled");
        let starts = add_step("Div", &[&scaled, &side_name], "starts");
        let scaled = add_step("Mul", &[&next_name, &length], "scaled_next");
        let raised = add_step("Add", &[&scaled, &round_up_name], "raised");
        let ends = add_step("Div", &[&raised, &side_name], "ends");
        let behind = add_step("GreaterOrEqual", &[&positions, &starts], "behind");
        let before = add_step("Less", &[&positions, &ends], "before");
        let inside = add_step("And", &[&behind, &before], "inside");
        let count = add_step("Sub", &[&ends, &starts], "count");

        let float = [AttributeProto::int("to", i64::from(DATA_TYPE_FLOAT))];
        let (ones, counts) = (format!("{name}.ones"), format!("{name}.counts"));
        self.add_node("Cast", &[&inside], &ones, &float);
        self.add_node("Cast", &[&count], &counts, &float);
        self.add_node("Div", &[&ones, &counts], name, &[]);
        name.to_owned()
    }
}
