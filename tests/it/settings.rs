//! The tables of flags in the pages of `docs/` are those that the command line has now, and the
//! table of parameters and the picture of the pipeline are those of `pipeline.json`.

use std::fs;
use std::path::{Path, PathBuf};

use maskmaker::cli::settings_markdown;
use maskmaker::pipeline::{Definition, Graph, draw_graph, parameters_markdown};
use maskmaker::render::to_svg;

/// Pages with tables, and the subcommands of these tables.
const PAGES: [(&str, &[&str]); 7] = [
    ("docs/serving.md", &["serve"]),
    ("docs/preprocess.md", &["preprocess"]),
    ("docs/local.md", &["train", "predict"]),
    ("docs/evaluate.md", &["evaluate"]),
    ("docs/search.md", &["search"]),
    ("docs/fetch.md", &["fetch"]),
    ("docs/label-studio.md", &["label-studio backend", "label-studio push"]),
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
        let name = format!("flags of {subcommand}");
        replace_table(page, &mut rendered, &name, &settings_markdown(subcommand));
    }
    (text, rendered)
}

/// Puts a table between the markers of its name.
fn replace_table(page: &str, text: &mut String, name: &str, table: &str) {
    let begin = format!("<!-- {name}: make settings -->\n");
    let end = format!("<!-- end of the {name} -->\n");
    let start = text.find(&begin).unwrap_or_else(|| panic!("{page} has no {begin}"));
    let stop = text.find(&end).unwrap_or_else(|| panic!("{page} has no {end}"));
    text.replace_range(start + begin.len()..stop, &format!("\n{table}\n"));
}

/// Files on the pipeline, with their content as it follows from `pipeline.json`.
fn render_pipeline_page() -> [(&'static str, String); 2] {
    let (definition, _) = Definition::read(&page_path("pipeline.json")).unwrap();
    let mut page = fs::read_to_string(page_path("docs/pipeline.md")).unwrap();
    let table = parameters_markdown(&definition);
    replace_table("docs/pipeline.md", &mut page, "parameters of pipeline.json", &table);
    let picture = to_svg(&draw_graph(&definition, &Graph::new(&definition).unwrap()));
    [("docs/pipeline.md", page), ("docs/pipeline.svg", picture)]
}

#[test]
fn the_page_on_the_pipeline_shows_what_its_definition_has_now() {
    for (file, expected) in render_pipeline_page() {
        let found = fs::read_to_string(page_path(file)).unwrap();
        assert!(found == expected, "{file} is out of date: make settings");
    }
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
    for (file, rendered) in render_pipeline_page() {
        fs::write(page_path(file), rendered).unwrap();
    }
}
