//! The pictures of docs/gallery.md are what the program draws now, pixel for pixel on every machine.

use std::collections::BTreeSet;
use std::path::Path;

#[path = "../../docs/gallery.rs"]
mod pictures;

#[test]
fn the_gallery_shows_what_is_drawn_now() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gallery");
    let page = std::fs::read_to_string(folder.with_extension("md")).unwrap();
    let mut expected_files = BTreeSet::new();
    let advice = "; if that is meant, run `make gallery` and look at the pictures";
    let drawn = pictures::draw_gallery();
    let picture_count = drawn.len();
    for picture in drawn {
        let name = picture.name;
        let stored = image::open(folder.join(format!("{name}.png"))).unwrap().to_rgb8();
        assert!(stored == picture.pixels, "{name}.png shows something else{advice}");
        expected_files.insert(format!("{name}.png"));
        let file = if let Some(svg) = picture.svg {
            let stored = std::fs::read_to_string(folder.join(format!("{name}.svg"))).unwrap();
            assert!(stored == svg, "{name}.svg describes something else{advice}");
            expected_files.insert(format!("{name}.svg"));
            format!("{name}.svg")
        } else {
            format!("{name}.png")
        };
        assert!(page.contains(&format!("(gallery/{file})")), "docs/gallery.md lacks {file}");
    }
    let files = std::fs::read_dir(&folder).unwrap();
    let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.collect::<BTreeSet<_>>(), expected_files, "files in docs/gallery{advice}");
    assert_eq!(page.matches("](gallery/").count(), picture_count, "links in docs/gallery.md");
}
