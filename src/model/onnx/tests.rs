use super::*;
use crate::model::{Algorithm, Architecture, Backbone, Network};
use tch::Device;

fn export_model(algorithm: Algorithm) -> ModelProto {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let architecture = Architecture { algorithm, backbone: Backbone::Resnet18 };
    let network = Network::random(architecture, 3, 1, Device::Cpu).unwrap();
    let metadata = [("class_names", "[\"a\"]".to_owned())];
    network.write_onnx(&path, &metadata).unwrap();
    let first = std::fs::read(&path).unwrap();
    network.write_onnx(&path, &metadata).unwrap();
    assert!(std::fs::read(&path).unwrap() == first, "the bytes depend on the network alone");
    ModelProto::decode(&first[..]).unwrap()
}

#[test]
fn every_value_is_made_once_and_before_it_is_read() {
    for algorithm in [Algorithm::Fcn, Algorithm::Psp, Algorithm::Deeplab] {
        let graph = export_model(algorithm).graph.unwrap();
        let mut defined_names: HashSet<&str> = HashSet::from(["", "input"]);
        for tensor in &graph.initializer {
            assert!(defined_names.insert(&tensor.name), "{} is there twice", tensor.name);
            let elements: i64 = tensor.dims.iter().product();
            let size = if tensor.data_type == DATA_TYPE_INT64 { 8 } else { 4 };
            assert_eq!(tensor.raw_data.as_ref().unwrap().len() as i64, elements * size);
        }
        for node in &graph.node {
            for input in &node.input {
                assert!(defined_names.contains(input.as_str()), "{} reads {input}", node.name);
            }
            assert!(defined_names.insert(&node.output[0]), "{} is made twice", node.output[0]);
        }
        assert!(defined_names.contains("out"));
        let names = graph.initializer.iter().map(|tensor| tensor.name.as_str());
        assert!(!names.clone().any(|name| name.starts_with("aux_classifier")), "not needed");
        assert!(names.clone().any(|name| name == "backbone.layer4.1.bn2.running_var"));
    }
}

#[test]
fn sizes_are_names_and_metadata_are_there() {
    let model = export_model(Algorithm::Psp);
    assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
    assert_eq!(model.metadata_props[0].key, "class_names");
    let graph = model.graph.unwrap();
    let shape_of = |info: &ValueInfoProto| {
        let shape = info.r#type.clone().unwrap().tensor_type.unwrap().shape.unwrap();
        let side = |dim: &proto::DimensionProto| (dim.dim_value, dim.dim_param.clone());
        shape.dim.iter().map(side).collect::<Vec<_>>()
    };
    let named = |name: &str| (None, Some(name.to_owned()));
    let expected =
        |channels| vec![named("batch"), (Some(channels), None), named("height"), named("width")];
    assert_eq!(shape_of(&graph.input[0]), expected(3));
    assert_eq!(shape_of(&graph.output[0]), expected(3));
}
