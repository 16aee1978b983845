#!/usr/bin/env python3
"""Counts in src/ what CONTRIBUTING.md says of names, comments and control flow.

  scripts/count-style.py [FOLDER] [--under src/data] [--list NAME]

FOLDER is a checkout, the one of this script by default. `--list NAME` prints the places of one
count, for example `--list doc_openings`; `--under` counts the files whose path begins so. Code of
tests (files called tests.rs, folders called tests, modules behind `#[cfg(test)]`) is left out.
Everything is found in the text with regular expressions, so a figure is good for a comparison of
two trees, not for an absolute claim.
"""

import argparse
import collections
import pathlib
import re

# A doc comment's first word that puts off its subject. A method `is_x` may say when it is true.
OPENINGS = re.compile(r"^(What|Whether|Of|How|Where|And|Which|That)\b")
DOC = re.compile(r"^\s*//[/!] ?(.*)$")
CLOSURE = re.compile(r"(?<![|&\w)\]])\|[^|\n=]*\|(?!\|)|(?<=[(,=] )\|\|(?= ?[\w{(])|(?<=\()\|\|(?= ?[\w{(])")
NAMED_CLOSURE = re.compile(r"\blet (mut )?\w+ = (move )?(\|[^|\n]*\||\|\|) ?")
FREE_FUNCTION = re.compile(r"^(?:pub(?:\([^)]*\))? )?(?:const )?(?:async )?(?:unsafe )?(?:extern \"C\" )?fn (\w+)")
ANY_FUNCTION = re.compile(r"^\s*(?:pub(?:\([^)]*\))? )?(?:const )?(?:async )?(?:unsafe )?(?:extern \"C\" )?fn (\w+)")
TYPE = re.compile(r"^\s*(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait|type|union) (\w+)")
# A parameter whose type is a tuple: `name: (A, B)`, or `(a, b): (A, B)` in a function's signature.
TUPLE_PARAMETER = re.compile(r"(?:\w+|\([\w, ]+\)): &?(?:mut )?\(([^()]*(?:\([^()]*\)[^()]*)*,[^()]*(?:\([^()]*\)[^()]*)*)\)")
VAGUE = re.compile(r"\b(nobody|somebody|someone|whoever|anybody)\b", re.I)
ARTICLES = {"the", "a", "an", "its", "of", "this", "these", "their", "it", "is", "to"}


def code_lines(path):
    """Lists (line number, text) of a file without its modules for tests."""
    lines = path.read_text().splitlines()
    kept, skipped_until = [], None
    for number, line in enumerate(lines, 1):
        if skipped_until is not None:
            if line.startswith(skipped_until):
                skipped_until = None
            continue
        if re.match(r"^\s*#\[cfg\((all\()?test", line):
            following = next((text for text in lines[number:] if text.strip() and not text.strip().startswith("#[")), "")
            indent = re.match(r"\s*", line).group(0)
            if following.rstrip().endswith("{"):
                skipped_until = indent + "}"
                continue
        kept.append((number, line))
    return kept


def is_test_file(path):
    return path.name in ("tests.rs", "fixtures.rs", "golden.rs") or "tests" in path.parts


def without_strings(line):
    """Replaces string and character literals, and cuts a trailing comment."""
    line = re.sub(r'"(?:\\.|[^"\\])*"', '""', line)
    line = re.sub(r"'(?:\\.|[^'\\])'", "' '", line)
    return re.sub(r"//.*$", "", line)


def split_name(name):
    """Lists the words of snake_case or CamelCase in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=here)
    parser.add_argument("--list", metavar="NAME", help="print the places of one count")
    parser.add_argument("--under", metavar="PREFIX", default="src", help="count files of this prefix only")
    arguments = parser.parse_args()

    places = collections.defaultdict(list)
    free, types = collections.defaultdict(list), collections.defaultdict(list)
    code = documented = 0
    src = arguments.folder / "src"
    for path in sorted(src.rglob("*.rs")):
        if is_test_file(path.relative_to(src)) or not str(path.relative_to(arguments.folder)).startswith(arguments.under):
            continue
        lines = code_lines(path)
        file = path.relative_to(arguments.folder)
        room = path.relative_to(src).parts[0]
        comment, signature = [], None
        for number, line in lines:
            place = f"{file}:{number}"
            if len(line) > 100:
                places["lines_over_100"].append(f"{place}: {line.strip()[:60]}")
            if line.strip().startswith("//"):
                if VAGUE.search(line):
                    places["vague_agents"].append(f"{place}: {line.strip()}")
                doc = DOC.match(line)
                if doc:
                    comment.append((number, doc.group(1)))
                continue
            stripped = without_strings(line)
            if stripped.strip().startswith("#["):
                continue
            if comment:
                documented += 1
                first = " ".join(text for _, text in comment).strip()
                begin = f"{file}:{comment[0][0]}"
                if OPENINGS.match(first):
                    places["doc_openings"].append(f"{begin}: {first[:70]}")
                sentence = first.split(". ")[0].rstrip(".")
                words = [word for word in re.findall(r"[a-z]+", sentence.lower()) if word not in ARTICLES]
                defined = re.match(r"\s*(?:pub(?:\([^)]*\))? )?(?:\w+ )*?(\w+)\s*(?:[:(<{,=;]|$)", stripped)
                named = {word.rstrip("s") for word in split_name(defined.group(1))} if defined else set()
                if len(comment) == 1 and len(first.split()) <= 3:
                    places["doc_comments_of_three_words"].append(f"{begin}: {first}")
                if len(comment) == 1 and len(words) <= 3 and all(word.rstrip("s") in named for word in words):
                    places["fillers"].append(f"{begin}: {first}")
                comment = []
            if not stripped.strip():
                continue
            code += 1
            for _ in CLOSURE.finditer(stripped):
                places["closures"].append(f"{place}: {line.strip()}")
            if NAMED_CLOSURE.search(stripped):
                places["named_closures"].append(f"{place}: {line.strip()}")
            function = FREE_FUNCTION.match(stripped)
            if function:
                free[function.group(1)].append(place)
            kind = TYPE.match(stripped)
            if kind and not line.startswith(" "):
                types[(room, kind.group(1))].append(place)
            if ANY_FUNCTION.match(stripped):
                signature = ""
            if signature is not None:
                signature += stripped
                if "{" in stripped or stripped.rstrip().endswith(";"):
                    parameters = signature.split("->")[0]
                    for found in TUPLE_PARAMETER.finditer(parameters):
                        kinds = {part.strip() for part in re.split(r",(?![^<(\[]*[>)\]])", found.group(1)) if part.strip()}
                        if len(kinds) > 1:
                            places["tuple_parameters_of_unlike_types"].append(f"{place}: {found.group(0)}")
                    signature = None
            if "// Sound:" in line:
                places["private_safety_markers"].append(place)

    repeated = {name: found for name, found in free.items() if len(found) > 4}
    for name, found in sorted(repeated.items()):
        places["free_functions_named_over_4_times"].append(f"{name}: {len(found)}: {' '.join(found)}")
    one_word = [f"{found[0]}: {name}" for name, found in free.items() if "_" not in name for _ in found]
    places["free_functions_of_one_word"] = one_word
    for (room, name), found in sorted(types.items()):
        if len(found) > 1:
            places["type_names_twice_in_a_room"].append(f"{name}: {' '.join(found)}")

    if arguments.list:
        print("\n".join(places[arguments.list]))
        return
    functions = sum(len(found) for found in free.values())
    openings, closures = len(places["doc_openings"]), len(places["closures"])
    print(f"lines of code                          {code}")
    print(f"doc comments                           {documented}")
    print(f"doc_openings (What, Whether, How, ...) {openings} = {100 * openings / documented:.1f} %")
    print(f"fillers                                {len(places['fillers'])}")
    print(f"doc_comments_of_three_words            {len(places['doc_comments_of_three_words'])}")
    print(f"vague_agents (nobody, somebody, ...)   {len(places['vague_agents'])}")
    print(f"lines_over_100                         {len(places['lines_over_100'])}")
    print(f"closures                               {closures} = {100 * closures / code:.1f} per 100 lines")
    print(f"named_closures                         {len(places['named_closures'])}")
    print(f"free functions                         {functions}")
    print(f"free_functions_of_one_word             {len(one_word)} = {100 * len(one_word) / functions:.0f} %")
    print(f"free_functions_named_over_4_times      {len(repeated)}")
    print(f"type_names_twice_in_a_room             {len(places['type_names_twice_in_a_room'])}")
    print(f"tuple_parameters_of_unlike_types       {len(places['tuple_parameters_of_unlike_types'])}")


if __name__ == "__main__":
    main()
