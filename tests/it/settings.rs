//! The tables of flags in the pages of `docs/` are those that the command line has now.

use std::fs;
use std::path::{Path, PathBuf};

use maskmaker::cli::settings_markdown;

/// Pages with tables, and the subcommands of these tables.
const PAGES: [(&str, &[&str]); 4] = [
    ("docs/serving.md", &["serve"]),
    ("docs/preprocess.md", &["preprocess"]),
    ("docs/local.md", &["train", "predict"]),
    ("docs/evaluate.md", &["evaluate"]),
];

fn page_path(page: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(page)
}

/// Reads a page and returns it twice: as it is, and with the tables of the current command line
/// between its markers.
fn read_and_render(page: &str, subcommands: &[&str]) -> (String, String) {
    let text = fs::read_to_string(page_path(page)).unwrap();
    let mut rendered = text.clone();
    for subcommand in subcommands {
        let begin = format!("<!-- flags of {subcommand}: make settings -->\n");
        let end = format!("<!-- end of the flags of {subcommand} -->\n");
        let start = rendered.find(&begin).unwrap_or_else(|| panic!("{page} has no {begin}"));
        let stop = rendered.find(&end).unwrap_or_else(|| panic!("{page} has no {end}"));
        let table = format!("\n{}\n", settings_markdown(subcommand));
        rendered.replace_range(start + begin.len()..stop, &table);
    }
    (text, rendered)
}

#[test]
fn tables_of_flags_are_what_the_command_line_has_now() {
    for (page, subcommands) in PAGES {
        let (found, expected) = read_and_render(page, subcommands);
        assert!(found == expected, "{page} is out of date: make settings");
    }
}

#[test]
#[ignore = "writes the pages: make settings"]
fn write_the_tables_of_flags() {
    for (page, subcommands) in PAGES {
        let (_, rendered) = read_and_render(page, subcommands);
        fs::write(page_path(page), rendered).unwrap();
    }
}
