use super::*;

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
    assert_eq!((h.optimizer, h.lr_scheduler), (Optimizer::Sgd, LrScheduler::Poly));
    assert_eq!((h.learning_rate, h.momentum, h.weight_decay), (0.001, 0.9, 0.0001));
    assert_eq!((h.gamma1, h.gamma2, h.num_training_samples), (0.9, 0.9, None));
}

#[test]
fn every_word_of_the_table_is_known_to_the_code() {
    for setting in TABLE {
        if let Allowed::OneOf(words) = setting.allowed {
            for word in words {
                let h = Hyperparameters::parse(&raw(&[(setting.name, word)])).unwrap();
                let json = serde_json::to_value(&h).unwrap();
                assert_eq!(json[setting.name], *word);
            }
        }
    }
}

#[test]
fn every_out_of_range_value_is_refused_with_key_value_and_range() {
    for (key, value, said) in [
        (
            "backbone",
            "resnet-52",
            "backbone is \"resnet-52\"; allowed: resnet-18, resnet-34, resnet-50, resnet-101 (did you mean \"resnet-50\"?)",
        ),
        ("algorithm", "unet", "algorithm is \"unet\"; allowed: fcn"),
        ("num_classes", "1", "num_classes is \"1\"; allowed: a whole number from 2 to 254"),
        ("num_classes", "255", "num_classes is \"255\"; allowed: a whole number from 2 to 254"),
        ("epochs", "0", "epochs is \"0\"; allowed: a whole number from 1 to 1000000"),
        ("epochs", "2.5", "epochs is \"2.5\"; allowed: a whole number from 1 to 1000000"),
        ("learning_rate", "0", "learning_rate is \"0\"; allowed: a number above 0 and up to 1"),
        (
            "learning_rate",
            "1.01",
            "learning_rate is \"1.01\"; allowed: a number above 0 and up to 1",
        ),
        ("learning_rate", "NaN", "learning_rate is \"NaN\"; allowed: a number above 0 and up to 1"),
        (
            "learning_rate",
            "-inf",
            "learning_rate is \"-inf\"; allowed: a number above 0 and up to 1",
        ),
        ("optimizer", "adadelta", "optimizer is \"adadelta\"; allowed: sgd, rmsprop"),
        (
            "lr_scheduler",
            "polly",
            "lr_scheduler is \"polly\"; allowed: poly (did you mean \"poly\"?)",
        ),
        (
            "mini_batch_size",
            "-1",
            "mini_batch_size is \"-1\"; allowed: a whole number from 1 to 65536",
        ),
        (
            "validation_mini_batch_size",
            "",
            "validation_mini_batch_size is \"\"; allowed: a whole number from 1 to 65536",
        ),
        ("crop_size", "16", "crop_size is \"16\"; allowed: a whole number from 17 to 4096"),
        ("base_size", "16", "base_size is \"16\"; allowed: a whole number from 17 to 8192"),
        (
            "use_pretrained_model",
            "maybe",
            "use_pretrained_model is \"maybe\"; allowed: True, False",
        ),
        ("momentum", "0", "momentum is \"0\"; allowed: a number above 0 and up to 1"),
        ("weight_decay", "2", "weight_decay is \"2\"; allowed: a number from 0 to 1"),
        ("gamma1", "1.5", "gamma1 is \"1.5\"; allowed: a number from 0 to 1"),
        ("gamma2", "x", "gamma2 is \"x\"; allowed: a number from 0 to 1"),
        ("seed", "-3", "seed is \"-3\"; allowed: a whole number from 0 to 9223372036854775807"),
        (
            "num_training_samples",
            "0",
            "num_training_samples is \"0\"; allowed: a whole number from 1 to 1000000000",
        ),
    ] {
        assert_eq!(problems(&[(key, value)]), [said]);
    }
}

#[test]
fn unknown_keys_name_the_nearest_known_one_and_all_problems_come_at_once() {
    let found = problems(&[
        ("learning-rate", "1"),
        ("epochs", "-1"),
        ("early_stopping", "True"),
        ("use_pretrained_model", "True"),
        ("class_names", "a,b"),
    ]);
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(
        found[1]
            .contains("learning-rate is not a hyperparameter (did you mean \"learning_rate\"?)")
    );
    assert!(found[0].contains("does not support it yet: set it to False"));
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
fn pretrained_weights_are_never_silently_random() {
    for asked in [raw(&[("use_pretrained_model", "True")]), {
        let mut without = raw(&[]);
        without.remove("use_pretrained_model");
        without
    }] {
        let error = Hyperparameters::parse(&asked).unwrap_err().to_string();
        assert!(error.contains("set use_pretrained_model to False"), "{error}");
    }
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
    fn arbitrary_values_never_panic(key in 0..TABLE.len(), value in ".*") {
        let _ = Hyperparameters::parse(&raw(&[(TABLE[key].name, &value)]));
    }
}
