//! The pictures of docs/gallery.md are what the program draws now, byte for byte on every machine.

use std::path::Path;

#[path = "../../docs/gallery.rs"]
mod pictures;

#[test]
fn the_gallery_shows_what_is_drawn_now() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gallery");
    let page = std::fs::read_to_string(folder.with_extension("md")).unwrap();
    let advice = "; if that is meant, run `make gallery` and look at the pictures";
    for picture in pictures::draw_gallery() {
        let name = picture.name;
        let stored = image::open(folder.join(format!("{name}.png"))).unwrap().to_rgb8();
        assert!(stored == picture.pixels, "{name}.png shows something else{advice}");
        let file = if let Some(svg) = picture.svg {
            let stored = std::fs::read_to_string(folder.join(format!("{name}.svg"))).unwrap();
            assert!(stored == svg, "{name}.svg describes something else{advice}");
            format!("{name}.svg")
        } else {
            format!("{name}.png")
        };
        assert!(page.contains(&format!("(gallery/{file})")), "docs/gallery.md lacks {file}");
    }
}
