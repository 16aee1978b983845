//! Histories of one checkpoint folder: data, settings, program version and folder change between
//! the runs of a stub trainer, whose weights tell what it was trained on.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::data_record::{DataRecord, SplitRecord};
use super::fingerprint::Fingerprint;
use super::hyperparameters::Hyperparameters;
use crate::data::Sample;
use crate::data::digest::SampleDigest;

/// Image and mask of each sample by name.
type Split = BTreeMap<String, (u8, u8)>;

/// Everything that decides the weights of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
struct World {
    training: Split,
    validation: Split,
    learning_rate: u8,
    epochs: usize,
}

/// A change between two runs.
#[derive(Debug, Clone)]
enum Event {
    Mask(bool, u8),
    Image(bool, u8),
    Add(u8),
    Remove(u8),
    Rename(u8),
    LearningRate(u8),
    MoreEpochs,
    /// The next run is one of a version that knows names only.
    OldVersion,
    /// The folder is emptied.
    EmptyFolder,
}

/// Content of a checkpoint, as text, and what the stub's weights were trained on.
#[derive(Debug)]
struct Checkpoint {
    fingerprint: String,
    samples: String,
    trained_on: World,
}

fn pick(split: &Split, which: u8) -> String {
    split.keys().nth(usize::from(which) % split.len()).unwrap().clone()
}

impl World {
    fn new() -> Self {
        let split =
            |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), (1, 1))).collect();
        Self {
            training: split(&["tram-1", "tram-2", "tram-3", "tram-4"]),
            validation: split(&["tower-1", "tower-2"]),
            learning_rate: 1,
            epochs: 1,
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Mask(validation, which) | Event::Image(validation, which) => {
                let split = if *validation { &mut self.validation } else { &mut self.training };
                let name = pick(split, *which);
                let (image, mask) = split.get_mut(&name).unwrap();
                let part = if matches!(event, Event::Mask(..)) { mask } else { image };
                *part = 1 + *part % 2;
            }
            Event::Add(which) => {
                self.training.insert(format!("new{}", which % 3), (1, *which));
            }
            Event::Remove(which) if self.training.len() > 1 => {
                self.training.remove(&pick(&self.training, *which));
            }
            Event::Rename(which) => {
                let name = pick(&self.training, *which);
                let content = self.training.remove(&name).unwrap();
                self.training.insert(format!("{name}x"), content);
            }
            Event::LearningRate(rate) => self.learning_rate = 1 + rate % 2,
            Event::MoreEpochs => self.epochs += 1,
            Event::Remove(_) | Event::OldVersion | Event::EmptyFolder => {}
        }
    }

    fn fingerprint(&self, knows_content: bool) -> Fingerprint {
        let settings = BTreeMap::from(
            [
                ("num_classes", "4".to_owned()),
                ("use_pretrained_model", "False".to_owned()),
                ("learning_rate", format!("0.{}", self.learning_rate)),
                ("epochs", self.epochs.to_string()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let settings = Hyperparameters::parse(&settings).unwrap();
        let [training, validation] = [&self.training, &self.validation].map(samples);
        let data = DataRecord {
            training: SplitRecord::new(&training, &digests(&self.training)).unwrap(),
            validation: SplitRecord::new(&validation, &digests(&self.validation)).unwrap(),
        };
        let fingerprint = Fingerprint::new(&settings, &training, &validation).unwrap();
        if knows_content { fingerprint.with_data(data) } else { fingerprint }
    }

    /// Returns what must not change in a job that goes on, as far as the checkpoint knows it.
    fn identity(&self, knows_content: bool) -> World {
        let mut identity = World { epochs: 0, ..self.clone() };
        if !knows_content {
            for content in identity.training.values_mut().chain(identity.validation.values_mut()) {
                *content = (0, 0);
            }
        }
        identity
    }
}

fn samples(split: &Split) -> Vec<Sample> {
    let sample = |key: &String| Sample {
        key: key.clone(),
        image: "/image".into(),
        mask: "/mask".into(),
        label_map: None,
        color_map: None,
    };
    split.keys().map(sample).collect()
}

fn digests(split: &Split) -> Vec<SampleDigest> {
    split.values().map(|(image, mask)| SampleDigest::new(&[*image], None, &[*mask])).collect()
}

/// Runs the stub: it goes on from the checkpoint or refuses it, and returns the differences.
fn run(world: &World, is_old_version: bool, folder: &mut Option<Checkpoint>) -> Vec<String> {
    let own = world.fingerprint(!is_old_version);
    if let Some(checkpoint) = folder {
        let saved: Fingerprint = serde_json::from_str(&checkpoint.fingerprint).unwrap();
        let saved = saved.with_sample_list(serde_json::from_str(&checkpoint.samples).unwrap());
        let differences = own.describe_differences(&saved);
        if !differences.is_empty() {
            return differences;
        }
    }
    *folder = Some(Checkpoint {
        fingerprint: serde_json::to_string(&own).unwrap(),
        samples: serde_json::to_string(own.data()).unwrap(),
        trained_on: world.clone(),
    });
    Vec::new()
}

/// Lists the names of samples of which an error must name one, and of settings that it must name.
fn list_changed(now: &World, then: &World) -> (BTreeSet<String>, Vec<&'static str>) {
    let mut names = BTreeSet::new();
    for (new, old) in [(&now.training, &then.training), (&now.validation, &then.validation)] {
        for name in new.keys().chain(old.keys()) {
            if new.get(name) != old.get(name) {
                names.insert(name.clone());
            }
        }
    }
    let settings =
        if now.learning_rate == then.learning_rate { vec![] } else { vec!["learning_rate"] };
    (names, settings)
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (any::<bool>(), any::<u8>()).prop_map(|(split, which)| Event::Mask(split, which)),
        (any::<bool>(), any::<u8>()).prop_map(|(split, which)| Event::Image(split, which)),
        any::<u8>().prop_map(Event::Add),
        any::<u8>().prop_map(Event::Remove),
        any::<u8>().prop_map(Event::Rename),
        any::<u8>().prop_map(Event::LearningRate),
        Just(Event::MoreEpochs),
        Just(Event::OldVersion),
        Just(Event::EmptyFolder),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_restarted_job_goes_on_with_the_same_data_and_settings_or_names_what_changed(
        history in prop::collection::vec(prop::collection::vec(any_event(), 0..3), 1..8),
    ) {
        let (mut world, mut folder): (World, Option<Checkpoint>) = (World::new(), None);
        run(&world, false, &mut folder);
        let mut folder_knows_content = true;
        for events in history {
            let mut is_old_version = false;
            for event in &events {
                world.apply(event);
                is_old_version |= matches!(event, Event::OldVersion);
                if matches!(event, Event::EmptyFolder) {
                    folder = None;
                }
            }
            let knows_content = !is_old_version && folder_knows_content;
            let before = folder.as_ref().map(|checkpoint| checkpoint.trained_on.clone());
            let said = run(&world, is_old_version, &mut folder);
            let must_go_on = before
                .as_ref()
                .is_none_or(|then| then.identity(knows_content) == world.identity(knows_content));
            prop_assert_eq!(said.is_empty(), must_go_on, "{:?}", said);
            if must_go_on {
                // The weights are those of the present world, or of one that cannot be told apart.
                folder_knows_content = !is_old_version;
                continue;
            }
            let then = before.unwrap();
            let (names, settings) = list_changed(&world, &then);
            let text = said.join("; ");
            prop_assert!(settings.iter().all(|name| text.contains(name)), "{}", text);
            if knows_content && !names.is_empty() {
                let is_named = names.iter().any(|name| text.contains(&name[..]));
                prop_assert!(is_named || text.contains("under other names"), "{}", text);
            }
        }
    }
}
