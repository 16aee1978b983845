//! The house is as `docs/architecture.md` tells it: imports point down, and links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The rooms by floor, from the top. A room imports rooms of lower floors only, so rooms of one
/// floor do not know each other. The last two floors are the modules that every room may use.
const FLOORS: [&[&str]; 8] = [
    &["cli"],
    &["commands"],
    &["serve", "evaluate", "pipeline", "fetch", "preannotation"],
    &["inference", "train", "preprocess", "search", "label_studio"],
    &["data", "model", "kernels", "annotations", "distributed"],
    &["imaging", "render", "metrics", "sagemaker", "aws", "http", "web_client", "torch"],
    &["files", "labels_json", "logged_process", "parent_process", "progress", "status_table"],
    &["error", "colors", "console", "machine", "python_json", "settings", "named_enum"],
];

/// The page that comments of the sources refer to.
const PAGE: &str = "docs/architecture.md";

/// The start of a test module within a file, as rustfmt writes it.
const TEST_MODULE: &str = "#[cfg(test)]\nmod tests {";

/// A text file and its path from the repository's root.
struct File {
    name: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads the files of a folder that have this extension; with `deep` also of the folders in it.
fn read_files(folder: &str, extension: &str, deep: bool) -> Vec<File> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        paths.push(entry.unwrap().path());
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        if path.is_dir() && deep {
            files.extend(read_files(&name, extension, deep));
        } else if path.is_file() && path.extension().is_some_and(|found| found == extension) {
            files.push(File { text: fs::read_to_string(&path).unwrap(), name });
        }
    }
    files
}

/// Reads the sources of all rooms, without the files that hold nothing but tests.
fn read_sources() -> Vec<File> {
    let mut files = read_files("src", "rs", true);
    files.retain(|file| {
        let is_root = file.name == "src/lib.rs" || file.name == "src/main.rs";
        !is_root && !file.name.ends_with("/tests.rs") && !file.name.contains("/tests/")
    });
    files
}

/// Reads the pages for people.
fn read_pages() -> Vec<File> {
    let mut pages = Vec::new();
    for folder in ["", "docs", "hyperparameters"] {
        pages.extend(read_files(folder, "md", false));
    }
    pages
}

fn read_page() -> String {
    fs::read_to_string(root().join(PAGE)).unwrap()
}

#[track_caller]
fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

/// Reads the room of a source from its path: `train` for `src/train/trainer.rs`.
fn read_room(name: &str) -> &str {
    let path = name.trim_start_matches("src/");
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

fn find_floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Counts the `super::` that lead from a source to the crate's root.
fn count_supers(name: &str) -> usize {
    let folders = name.matches('/').count();
    if name.ends_with("/mod.rs") { folders - 1 } else { folders }
}

/// Cuts the comment off a line. The slashes of an address such as `s3://` begin none.
fn cut_comment(line: &str) -> &str {
    for (at, _) in line.match_indices("//") {
        if !line[..at].ends_with(':') {
            return &line[..at];
        }
    }
    line
}

/// Cuts comments and the test module out of a source. What is left keeps its line numbers.
fn cut_source(text: &str) -> String {
    let mut code = text.to_owned();
    if let Some(start) = text.find(TEST_MODULE) {
        let end = text[start..].find("\n}\n").map_or(text.len(), |length| start + length);
        let lines = text[start..end].matches('\n').count();
        code.replace_range(start..end, &"\n".repeat(lines));
    }
    let lines: Vec<&str> = code.lines().map(cut_comment).collect();
    lines.join("\n")
}

/// Reads the word that a text begins with, or the star of a glob.
fn read_name(text: &str) -> &str {
    if text.starts_with('*') {
        return "*";
    }
    let end = text.find(|sign: char| !is_word(sign)).unwrap_or(text.len());
    &text[..end]
}

/// Reads what follows `crate::`: the name that it begins with, or those of a group in braces. Each
/// comes with its place in the text.
fn read_names(path: &str) -> Vec<(usize, &str)> {
    if !path.starts_with('{') {
        return vec![(0, read_name(path))];
    }
    let mut names = Vec::new();
    let mut depth = 0;
    let mut start = 1;
    for (at, sign) in path.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && sign == ',') {
            let item = &path[start..at];
            let name = read_name(item.trim_start());
            if !name.is_empty() {
                names.push((at - item.trim_start().len(), name));
            }
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// Finds the rooms that a source names in its imports and its code, with their lines.
fn find_imports(file: &File) -> Vec<(usize, String)> {
    let supers = "super::".repeat(count_supers(&file.name));
    let code = cut_source(&file.text).replace(&supers, "crate::");
    let mut imports = Vec::new();
    for (at, word) in code.match_indices("crate::") {
        if code[..at].ends_with(is_word) {
            continue;
        }
        let start = at + word.len();
        for (offset, room) in read_names(&code[start..]) {
            let line = code[..start + offset].matches('\n').count() + 1;
            imports.push((line, room.to_owned()));
        }
    }
    imports
}

/// Checks that rooms import nothing but rooms of lower floors.
fn check_imports(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files {
        let room = read_room(&file.name);
        let Some(floor) = find_floor(room) else {
            problems.push(format!("{}:1: room {room} is missing in FLOORS", file.name));
            continue;
        };
        for (line, imported) in find_imports(file) {
            if imported == room {
                continue;
            }
            let problem = match find_floor(&imported) {
                Some(other) if other > floor => continue,
                Some(_) => "which does not stand below it",
                None => "which is missing in FLOORS",
            };
            let name = &file.name;
            problems.push(format!("{name}:{line}: room {room} imports {imported}, {problem}"));
        }
    }
    problems
}

/// Empties the lines of fenced code. What is left keeps its line numbers.
fn cut_fences(page: &str) -> Vec<&str> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        let is_fence = line.trim_start().starts_with("```");
        if is_fence {
            is_code = !is_code;
        }
        lines.push(if is_code || is_fence { "" } else { line });
    }
    lines
}

/// Cuts what stands in backticks out of a line.
fn cut_spans(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Finds the targets of a page's links within the repository, with their lines.
fn find_links(page: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (index, line) in cut_fences(page).into_iter().enumerate() {
        for rest in cut_spans(line).split("](").skip(1) {
            let end = rest.find([')', ' ']).unwrap_or(rest.len());
            let target = &rest[..end];
            if !target.contains("://") && !target.starts_with("mailto:") {
                links.push((index + 1, target.to_owned()));
            }
        }
    }
    links
}

/// Makes the anchor that GitHub gives the first heading of this text.
fn make_anchor(heading: &str) -> String {
    let mut anchor = String::new();
    for sign in heading.to_lowercase().chars() {
        if sign == ' ' {
            anchor.push('-');
        } else if is_word(sign) || sign == '-' {
            anchor.push(sign);
        }
    }
    anchor
}

/// Finds the anchors of a page's headings. From the second on, headings of one text are numbered.
fn find_anchors(page: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    let mut earlier: Vec<String> = Vec::new();
    for line in cut_fences(page) {
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        if !(1..=6).contains(&level) || !title.starts_with(' ') {
            continue;
        }
        let anchor = make_anchor(title.trim());
        let number = earlier.iter().filter(|other| **other == anchor).count();
        anchors.push(if number == 0 { anchor.clone() } else { format!("{anchor}-{number}") });
        earlier.push(anchor);
    }
    anchors
}

/// Says what is wrong with the target of a page's link.
fn check_target(page: &File, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let mut text = page.text.clone();
    if !path.is_empty() {
        let file = root().join(&page.name).with_file_name(path);
        if !file.exists() {
            return Some(format!("{target} names no file"));
        }
        if !anchor.is_empty() {
            text = fs::read_to_string(file).unwrap();
        }
    }
    let is_known = anchor.is_empty() || find_anchors(&text).iter().any(|known| known == anchor);
    if is_known { None } else { Some(format!("{target} names no heading")) }
}

/// Checks that the links of pages lead to files and headings.
fn check_links(pages: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for page in pages {
        for (line, target) in find_links(&page.text) {
            if let Some(problem) = check_target(page, &target) {
                problems.push(format!("{}:{line}: {problem}", page.name));
            }
        }
    }
    problems
}

/// Checks that what sources say of the page's headings names headings that there are.
fn check_references(sources: &[File], page: &str) -> Vec<String> {
    let anchors = find_anchors(page);
    let start = format!("{PAGE}#");
    let mut problems = Vec::new();
    for file in sources {
        for (index, line) in file.text.lines().enumerate() {
            for rest in line.split(&start).skip(1) {
                let end = rest.find(|sign: char| !is_word(sign) && sign != '-');
                let anchor = &rest[..end.unwrap_or(rest.len())];
                if !anchors.iter().any(|known| known == anchor) {
                    let place = format!("{}:{}", file.name, index + 1);
                    problems.push(format!("{place}: {PAGE}#{anchor} names no heading"));
                }
            }
        }
    }
    problems
}

/// Checks that the sources and tests that the page names in backticks are there.
fn check_paths(page: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, line) in page.lines().enumerate() {
        for name in line.split('`').skip(1).step_by(2) {
            let is_path = name.starts_with("src/") || name.starts_with("tests/");
            if is_path && !root().join(name).exists() {
                problems.push(format!("{PAGE}:{}: {name} names no file", index + 1));
            }
        }
    }
    problems
}

/// Checks that each room of FLOORS has a source and stands in the page.
fn check_rooms(sources: &[File], page: &str) -> Vec<String> {
    let found: BTreeSet<&str> = sources.iter().map(|file| read_room(&file.name)).collect();
    let mut problems = Vec::new();
    for room in FLOORS.concat() {
        if !found.contains(room) {
            problems.push(format!("room {room} of FLOORS has no source"));
        }
        let names = [format!("`src/{room}/`"), format!("`src/{room}.rs`")];
        if !names.iter().any(|name| page.contains(name)) {
            problems.push(format!("{PAGE} does not name {}", names.join(" or ")));
        }
    }
    problems
}

#[test]
fn imports_point_down() {
    assert_none(&check_imports(&read_sources()));
}

#[test]
fn every_room_stands_in_the_page() {
    assert_none(&check_rooms(&read_sources(), &read_page()));
}

#[test]
fn links_lead_to_files_and_headings() {
    assert_none(&check_links(&read_pages()));
}

#[test]
fn comments_name_headings_of_the_page_and_the_page_names_files() {
    let mut problems = check_references(&read_files("src", "rs", true), &read_page());
    problems.extend(check_paths(&read_page()));
    assert_none(&problems);
}

fn file(name: &str, text: &str) -> File {
    File { name: name.to_owned(), text: text.to_owned() }
}

#[test]
fn an_import_of_a_room_above_or_beside_is_found_wherever_it_stands() {
    let text = r#"//! A comment may name crate::serve.
use crate::{
    error::{Error, Result},
    data::loader, files,
    train::{self, step},
};
fn run() {
    read("s3://bucket"); crate::serve::run();
    super::graph::build(super::super::commands::run, mycrate::cli);
}
#[cfg(test)]
mod tests {
    use crate::cli;
}
use crate::attic;
"#;
    assert_eq!(
        check_imports(&[file("src/model/heads.rs", text)]),
        [
            "src/model/heads.rs:4: room model imports data, which does not stand below it",
            "src/model/heads.rs:5: room model imports train, which does not stand below it",
            "src/model/heads.rs:8: room model imports serve, which does not stand below it",
            "src/model/heads.rs:9: room model imports commands, which does not stand below it",
            "src/model/heads.rs:15: room model imports attic, which is missing in FLOORS",
        ]
    );
    let text = "use super::cli;\nuse crate::error::*;\nuse crate::*;\n";
    assert_eq!(
        check_imports(&[file("src/files.rs", text), file("src/attic/mod.rs", "")]),
        [
            "src/files.rs:1: room files imports cli, which does not stand below it",
            "src/files.rs:3: room files imports *, which is missing in FLOORS",
            "src/attic/mod.rs:1: room attic is missing in FLOORS",
        ]
    );
}

#[test]
fn a_link_that_leads_nowhere_is_found_and_code_is_no_link() {
    let text = "# The title\n\
                [a](architecture.md#counted-randomness) [b](../src) [c](#the-title)\n\
                [d](nowhere.md) and `[e](code.md)`\n\
                ![f](architecture.md#nowhere) [g](https://example.org/h)\n\
                ```\n\
                [i](fenced.md)\n\
                ```\n\
                [j](#nowhere)\n";
    assert_eq!(
        check_links(&[file("docs/page.md", text)]),
        [
            "docs/page.md:3: nowhere.md names no file",
            "docs/page.md:4: architecture.md#nowhere names no heading",
            "docs/page.md:8: #nowhere names no heading",
        ]
    );
}

#[test]
fn a_reference_or_a_path_that_leads_nowhere_is_found() {
    let page =
        "# Page\n### It's `one`, two\n### It's one two\nIn `src/lib.rs` and `src/attic.rs`.\n";
    assert_eq!(find_anchors(page), ["page", "its-one-two", "its-one-two-1"]);
    let text = "// As said (`docs/architecture.md#its-one-two`).\n// docs/architecture.md#three.\n";
    assert_eq!(
        check_references(&[file("src/files.rs", text)], page),
        ["src/files.rs:2: docs/architecture.md#three names no heading"]
    );
    assert_eq!(check_paths(page), ["docs/architecture.md:4: src/attic.rs names no file"]);
    let problems = check_rooms(&[], page);
    assert!(problems.contains(&"room serve of FLOORS has no source".to_owned()), "{problems:?}");
    let unnamed = "docs/architecture.md does not name `src/serve/` or `src/serve.rs`";
    assert!(problems.contains(&unnamed.to_owned()), "{problems:?}");
}

#[test]
fn both_images_build_the_program_alike() {
    // What is the same is built once: docker keeps the layers.
    let stages = |name: &str| {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let (start, end) =
            (text.find("ARG DEBIAN").unwrap(), text.find("# --- Backbones").unwrap());
        text[start..end].to_owned()
    };
    assert_eq!(stages("Dockerfile.cpu"), stages("Dockerfile.gpu"));
}
