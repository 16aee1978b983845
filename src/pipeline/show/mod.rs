//! A pipeline for people: its graph as text and as a picture, and its parameters as a table.

mod parameters;
mod picture;
mod text;

pub use parameters::parameters_markdown;
pub use picture::draw_graph;
pub use text::describe_graph;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pipeline::{Definition, Graph};
    use crate::render::to_svg;

    fn definition() -> Definition {
        let text = json!({"Version": "2020-12-01", "Steps": [
            {"Name": "Preprocess", "Type": "Processing", "Arguments": {}},
            {"Name": "Train", "Type": "Training", "Arguments": {
                "A": {"Get": "Steps.Preprocess.ProcessingJobName"}}},
            {"Name": "Evaluate", "Type": "Processing", "DependsOn": ["Train"], "Arguments": {
                "A": {"Get": "Steps.Preprocess.ProcessingJobName"}}},
            {"Name": "GoodEnough", "Type": "Condition", "DependsOn": ["Evaluate"], "Arguments": {
                "Conditions": [],
                "IfSteps": [{"Name": "Register", "Type": "RegisterModel", "Arguments": {
                    "A": {"Get": "Steps.Train.TrainingJobName"}}}],
                "ElseSteps": [{"Name": "Rejected", "Type": "Fail", "Arguments": {}}]}},
        ]});
        Definition::parse(text.to_string().as_bytes()).unwrap().0
    }

    #[test]
    fn the_text_lists_steps_in_order_with_what_they_wait_for() {
        let definition = definition();
        let graph = Graph::new(&definition).unwrap();
        let expected = "\
Preprocess  Processing
Train       Training       after Preprocess
Evaluate    Processing     after Preprocess, Train
GoodEnough  Condition      after Evaluate
Register    RegisterModel  if GoodEnough, after Train
Rejected    Fail           if not GoodEnough
";
        assert_eq!(describe_graph(&definition, &graph), expected);
    }

    #[test]
    fn the_picture_has_each_step_once_and_no_texts_over_each_other() {
        let definition = definition();
        let graph = Graph::new(&definition).unwrap();
        let scene = draw_graph(&definition, &graph);
        crate::render::assert_texts_are_apart(&scene);
        let svg = to_svg(&scene);
        for step in &definition.steps {
            assert_eq!(svg.matches(&format!(">{}<", step.name)).count(), 1, "{}", step.name);
        }
        assert!(svg.contains(">if<") && svg.contains(">else<"));
    }
}
