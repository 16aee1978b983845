//! The contact sheet of `augment-preview` shows what the loader makes, and nothing else.

use std::fs;
use std::sync::Arc;

use maskmaker::data::augment::{Augmentations, Transforms};
use maskmaker::data::batch_parts::RankShare;
use maskmaker::data::loader::DataLoaderConfig;
use maskmaker::data::pairing::pair_images_and_masks;
use maskmaker::error::Problems;
use maskmaker::imaging::{DecodeLimits, decode_upright};
use maskmaker::sagemaker::channels::SplitFolders;

use crate::job::Job;

#[test]
fn the_sheet_shows_the_loaders_crops_pixel_for_pixel() {
    let job = Job::new().with("augmentations", "rotate,noise,cutout").with("seed", "5");
    let run = job.run(&["augment-preview", "--samples", "2", "--epochs", "3", "--plain"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("augmentations rotate=10,noise=0.05,cutout=0.2 -> "));
    let sheet = fs::read(job.path("output/data/augment-preview.png")).unwrap();
    let sheet = decode_upright(&sheet, DecodeLimits::default()).unwrap();

    let split = SplitFolders {
        name: "train",
        images: job.path("input/data/train"),
        masks: job.path("input/data/train_annotation"),
    };
    let plan = DataLoaderConfig {
        samples: Arc::new(pair_images_and_masks(&split, &mut Problems::new())),
        transforms: Transforms {
            base_size: 64,
            crop_size: 32,
            augmentations: Augmentations::parse("rotate,noise,cutout").unwrap(),
        },
        batch_size: 3,
        micro_batch_size: 3,
        share: RankShare::default(),
        shards: None,
        seed: 5,
    };
    // 6 samples, of which 2 are shown: the first and the fourth.
    for (index, epoch) in [(0, 0), (0, 2), (3, 1)] {
        let (crop, _) = plan.load_crop(index, epoch).unwrap();
        // A pixel of the crop is 5 x 5 on the sheet; the column follows from the epoch, and each has
        // 160 pixels and a gap of 12 after a margin of 24.
        let left = 24 + (epoch as u32 + 1) * 172;
        let is_at = |top: u32| {
            crop.enumerate_pixels().all(|(x, y, pixel)| {
                [0, 4].iter().all(|i| sheet.get_pixel(left + 5 * x + i, top + 5 * y + i) == pixel)
            })
        };
        let places: Vec<u32> = (0..sheet.height() - 160).filter(|top| is_at(*top)).collect();
        assert_eq!(places.len(), 1, "sample {index} in epoch {epoch}");
    }
}

#[test]
fn another_list_may_be_tried_and_the_file_put_anywhere() {
    let job = Job::new().with("augmentations", "rotate=180");
    let file = job.path("sheets/none.png");
    let name = file.to_str().unwrap();
    let arguments = ["augment-preview", "--augmentations", "none", "--output", name];
    let run = job.run(&arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("augmentations none -> "), "{}", run.stdout);
    let first = fs::read(&file).unwrap();
    assert_eq!(job.run(&arguments).code, Some(0));
    assert!(fs::read(&file).unwrap() == first, "the same settings give the same sheet");
    assert!(!job.path("output").exists() && !job.path("model").exists(), "nothing else is written");
}

#[test]
fn what_is_wrong_with_settings_or_files_is_told_at_once_with_exit_3() {
    let job = Job::new().with("augmentations", "rotat").with("epochs", "0");
    let run = job.run(&["augment-preview", "--augmentations", "blur=x"]);
    assert_eq!(run.code, Some(3));
    for said in [
        "augmentations has \"rotat\"; allowed: hflip, vflip",
        "(did you mean \"rotate\"?)",
        "epochs is \"0\"",
        "augmentations has \"blur=x\"; allowed for blur: a number from 0 to 10",
    ] {
        assert!(run.stderr.contains(said), "{}", run.stderr);
    }

    let job = Job::new();
    let broken = job.first("train");
    fs::write(&broken, "no picture").unwrap();
    let run = job.run(&["augment-preview"]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains(broken.to_str().unwrap()), "{}", run.stderr);
    assert!(!job.path("output/data/augment-preview.png").exists());
}
