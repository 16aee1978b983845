//! Fuzzes label maps: any bytes are a map or an error. The first byte is the number of classes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use maskmaker::data::label_map::LabelMap;

fuzz_target!(|bytes: &[u8]| {
    let Some((&classes, text)) = bytes.split_first() else { return };
    let Ok(Some(map)) = LabelMap::parse(text, usize::from(classes)) else { return };
    assert!(map.to_string().len() < 1000 && map.advice().len() < 1000);
    for value in 0..=255 {
        let mut mask = [value; 2];
        match map.apply(&mut mask) {
            Ok(()) => assert_eq!(mask[0], mask[1]),
            Err(unknown) => assert_eq!(unknown.into_iter().collect::<Vec<_>>(), [(value, 2)]),
        }
    }
});
