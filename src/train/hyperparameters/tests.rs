use super::*;
use crate::sagemaker::hyperparameter_spec::AllowedValues;

fn raw(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let base = [("num_classes", "4"), ("use_pretrained_model", "False")];
    base.iter().chain(pairs).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
    Hyperparameters::parse(&raw(pairs)).unwrap_err().problems().to_vec()
}

#[test]
fn defaults_are_the_built_ins() {
    let h = Hyperparameters::parse(&raw(&[])).unwrap();
    assert_eq!((h.backbone, h.algorithm), (Backbone::Resnet50, Algorithm::Fcn));
    assert_eq!((h.epochs, h.mini_batch_size, h.crop_size, h.base_size), (10, 16, 240, 520));
    assert_eq!((h.optimizer, h.lr_scheduler), (OptimizerKind::Sgd, LrScheduler::Poly));
    assert_eq!((h.learning_rate, h.momentum, h.weight_decay), (0.001, 0.9, 0.0001));
    assert_eq!((h.gamma1, h.gamma2, h.num_training_samples), (0.9, 0.9, None));
    assert_eq!((h.lr_scheduler_factor, h.lr_scheduler_step.len()), (0.1, 0));
    assert_eq!((h.early_stopping, h.early_stopping_min_epochs), (false, 5));
    assert_eq!((h.early_stopping_patience, h.early_stopping_tolerance), (4, 0.0));
    assert_eq!((h.validation_mini_batch_size, h.syncbn), (16, false));
    assert_eq!((h.checkpoint_interval, h.warmup_epochs), (300, 0.0));
}

#[test]
fn every_word_of_the_table_is_known_to_the_code() {
    for setting in HYPERPARAMETER_SPECS {
        if let AllowedValues::OneOf(words) = setting.allowed {
            for word in words {
                let pairs = [(setting.name, *word), ("lr_scheduler_step", "3")];
                let h = Hyperparameters::parse(&raw(&pairs)).unwrap();
                let json = serde_json::to_value(&h).unwrap();
                assert_eq!(json[setting.name], *word);
            }
        }
    }
}

#[test]
fn every_out_of_range_value_is_refused_with_key_value_and_range() {
    let (many, batch) = ("a whole number from 1 to 1000000", "a whole number from 1 to 65536");
    let count = "a whole number from 0 to 1000000";
    let (share, rate) = ("a number from 0 to 1", "a number above 0 and up to 1");
    let (switch, classes) = ("True, False", "a whole number from 2 to 254");
    let list = "whole numbers from 1 to 1000000, separated by commas";
    for (key, value, allowed) in [
        ("backbone", "vgg", "resnet-18, resnet-34, resnet-50, resnet-101"),
        ("algorithm", "unet", "fcn, psp, deeplab"),
        ("use_pretrained_model", "maybe", switch),
        ("num_classes", "1", classes),
        ("num_classes", "255", classes),
        ("num_training_samples", "0", "a whole number from 1 to 1000000000"),
        ("epochs", "0", many),
        ("epochs", "2.5", many),
        ("mini_batch_size", "-1", batch),
        ("mini_batch_size", "0", batch),
        ("validation_mini_batch_size", "", batch),
        ("crop_size", "16", "a whole number from 17 to 4096"),
        ("base_size", "16", "a whole number from 17 to 8192"),
        ("optimizer", "lion", "sgd, nag, adam, adamw, adagrad, rmsprop"),
        ("learning_rate", "0", rate),
        ("learning_rate", "1.01", rate),
        ("learning_rate", "NaN", rate),
        ("learning_rate", "-inf", rate),
        ("momentum", "0", rate),
        ("momentum", "1.1", rate),
        ("weight_decay", "2", share),
        ("weight_decay", "-0.1", share),
        ("gamma1", "1.5", share),
        ("gamma1", "-0.5", share),
        ("gamma2", "x", share),
        ("gamma2", "1.01", share),
        ("lr_scheduler", "linear", "poly, cosine, step"),
        ("lr_scheduler_factor", "1.1", share),
        ("lr_scheduler_step", "10; 20", list),
        ("lr_scheduler_step", "0, 20", list),
        ("lr_scheduler_step", "10,", list),
        ("early_stopping", "yes", switch),
        ("early_stopping_min_epochs", "-1", count),
        ("early_stopping_patience", "1.5", count),
        ("early_stopping_tolerance", "-0.1", share),
        ("early_stopping_tolerance", "1.1", share),
        ("syncbn", "1", switch),
        ("seed", "-3", "a whole number from 0 to 9223372036854775807"),
        ("warmup_epochs", "-1", "a number from 0 to 1000000"),
        ("warmup_factor", "2", share),
        ("checkpoint_interval", "86401", "a whole number from 0 to 86400"),
        ("precision", "fp64", "auto, fp32, bf16, fp16"),
        ("focal_gamma", "-1", "a number from 0 to 10"),
        ("gradient_accumulation_steps", "0", "a whole number from 1 to 1024"),
        ("gradient_clip_norm", "-1", "a number from 0 to 1000000"),
        ("ema_decay", "1", "a number from 0 to 0.999999"),
    ] {
        assert_eq!(problems(&[(key, value)]), [format!("{key} is {value:?}; allowed: {allowed}")]);
    }
    for (key, value, said) in [
        ("backbone", "resnet-52", "(did you mean \"resnet-50\"?)"),
        ("lr_scheduler", "polly", "(did you mean \"poly\"?)"),
    ] {
        assert!(problems(&[(key, value)])[0].ends_with(said));
    }
}

/// A setting that is added to the table is held to its range too.
#[test]
fn no_setting_takes_just_any_value() {
    for setting in
        HYPERPARAMETER_SPECS.iter().filter(|setting| setting.allowed != AllowedValues::Text)
    {
        let said = &problems(&[(setting.name, "no such value")])[0];
        assert!(said.starts_with(&format!("{} is \"no such value\"; allowed: ", setting.name)));
    }
}

#[test]
fn settings_that_do_not_go_together_are_refused_with_the_fix() {
    for (pairs, said) in [
        (&[("lr_scheduler", "step")][..], "lr_scheduler_step is missing; give the epochs"),
        (
            &[("lr_scheduler", "step"), ("lr_scheduler_step", "")],
            "lr_scheduler is step, but lr_scheduler_step is missing",
        ),
        (
            &[("algorithm", "deeplab"), ("mini_batch_size", "1")],
            "set mini_batch_size to 2 or more, or algorithm to fcn",
        ),
        (
            &[("algorithm", "psp"), ("mini_batch_size", "1")],
            "mini_batch_size is 1, but algorithm psp pools",
        ),
        (
            &[("warmup_epochs", "2.5"), ("epochs", "2")],
            "warmup_epochs is 2.5, epochs is 2; the warm-up must end before",
        ),
        (&[("loss", "dise")], "(did you mean \"dice\"?)"),
        (&[("class_weights", "1,2")], "class_weights has 2 numbers for num_classes 4"),
        (
            &[("class_weights", "auto"), ("loss", "dice,lovasz")],
            "class_weights is given, but loss has no cross_entropy",
        ),
    ] {
        let found = problems(pairs);
        assert!(found.len() == 1 && found[0].contains(said), "{found:?}");
    }
}

#[test]
fn lists_come_with_and_without_spaces_and_may_be_empty_where_they_are_ignored() {
    let steps = |text| {
        let pairs = [("lr_scheduler_step", text)];
        Hyperparameters::parse(&raw(&pairs)).unwrap().lr_scheduler_step
    };
    assert_eq!(steps("10, 20"), [10, 20]);
    assert_eq!(steps("10,20 , 30.0"), [10, 20, 30]);
    assert_eq!(steps(""), [0; 0]);
}

#[test]
fn adamw_has_pytorchs_weight_decay_unless_one_is_given() {
    for (pairs, expected) in [
        (&[("optimizer", "adamw")][..], 0.01),
        (&[("optimizer", "adamw"), ("weight_decay", "0.0001")], 0.0001),
        (&[("optimizer", "nag")], 0.0001),
    ] {
        let decay = Hyperparameters::parse(&raw(pairs)).unwrap().weight_decay;
        assert!((decay - expected).abs() < 1e-12, "{pairs:?}: {decay}");
    }
}

#[test]
fn unknown_keys_name_the_nearest_known_one_and_all_problems_come_at_once() {
    let found = problems(&[
        ("learning-rate", "1"),
        ("epochs", "-1"),
        ("use_pretrained_model", "perhaps"),
        ("class_names", "a,b"),
    ]);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(
        found[0]
            .contains("learning-rate is not a hyperparameter (did you mean \"learning_rate\"?)")
    );
    let far = &problems(&[("zzz", "1")])[0];
    assert!(far.contains("known: backbone, algorithm"), "{far}");
}

#[test]
fn keys_that_sagemaker_adds_are_tolerated() {
    let added = [("_tuning_objective_metric", "validation:mIOU"), ("sagemaker_job_name", "x")];
    assert!(Hyperparameters::parse(&raw(&added)).is_ok());
}

#[test]
fn the_built_ins_defaults_given_explicitly_are_no_problem() {
    let defaults = [
        ("early_stopping", "False"),
        ("early_stopping_patience", "4"),
        ("syncbn", "false"),
        ("lr_scheduler_factor", "0.1"),
        ("lr_scheduler_step", "10, 20"),
    ];
    assert!(Hyperparameters::parse(&raw(&defaults)).is_ok());
}

#[test]
fn pretrained_weights_are_wanted_unless_switched_off() {
    let mut without = raw(&[]);
    without.remove("use_pretrained_model");
    assert!(Hyperparameters::parse(&without).unwrap().use_pretrained_model);
    assert!(!Hyperparameters::parse(&raw(&[])).unwrap().use_pretrained_model);
}

#[test]
fn class_names_must_be_as_many_as_classes() {
    let names = [("class_names", "background, road")];
    assert!(problems(&names)[0].contains("class_names has 2 names for num_classes 4"));
}

#[test]
fn words_and_booleans_come_in_any_case_and_crop_size_is_rounded_up() {
    let h = Hyperparameters::parse(&raw(&[
        ("use_pretrained_model", "FALSE"),
        ("backbone", "ResNet-18"),
        ("crop_size", "100"),
        ("mini_batch_size", "8.0"),
    ]))
    .unwrap();
    assert_eq!((h.backbone, h.crop_size, h.mini_batch_size), (Backbone::Resnet18, 104, 8));
}

proptest::proptest! {
    #[test]
    fn arbitrary_values_never_panic(key in 0..HYPERPARAMETER_SPECS.len(), value in ".*") {
        let _ = Hyperparameters::parse(&raw(&[(HYPERPARAMETER_SPECS[key].name, &value)]));
    }
}
