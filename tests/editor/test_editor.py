#!/usr/bin/env python3
"""Compares how Label Studio's editor fills polygons that cross themselves with
tests/fixtures/annotations/labelstudio/polygon_fill.json.

  test_editor.py [--write] FOLDER     FOLDER has the editor's scripts and styles, as tests/editor/run.sh unpacks them

The editor opens one task, whose image is empty and has a cell for each shape, and its canvas is read. The labeling
configuration leaves out the stroke and makes the fill opaque. One test for each face of each shape, and one for all of a
shape's pixels. --write writes what the editor draws into the fixture, for the shapes whose points are there.
Needs CHROMIUM and CHROMEDRIVER, the paths of both.
"""
import argparse
import base64
import functools
import http.server
import json
import math
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "page"))
from webdriver import Browser  # noqa: E402

FIXTURE = TESTS / "fixtures/annotations/labelstudio/polygon_fill.json"
# Cells of the image for the shapes, and pixels of a shape's mask.
COLUMNS, WIDTH, HEIGHT = 4, 48, 36
CONFIG = """<View><Image name="image" value="$image"/>
<PolygonLabels name="polygon" toName="image" strokeWidth="0" opacity="1"><Label value="a" background="#ff0000"/></PolygonLabels>
</View>"""


def list_files(folder):
    """The editor's scripts in the order in which they load, and its styles; as paths below the folder."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    # Modules come between the loader and the application.
    scripts = [name for name in names if name.endswith(".js")]
    scripts.sort(key=lambda name: (name != "runtime.js", name != "vendor.js", name.endswith("main.js"), name))
    return scripts, [name for name in names if name.endswith(".css")]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the editor's folder, and the page."""

    def log_message(self, *_):
        pass

    def translate_path(self, path):
        return str(TESTS / "editor/page.html") if path == "/" else super().translate_path(path)


class Cells:
    """Places of the shapes in the image."""

    def __init__(self, count):
        self.rows = math.ceil(count / COLUMNS)

    def place(self, number, x, y):
        """A place in a shape's cell as one of the image, both in percent."""
        row, column = divmod(number, COLUMNS)
        return [(100 * column + x) / COLUMNS, (100 * row + y) / self.rows]


def make_task(shapes, cells):
    width, height = 400 * COLUMNS, 300 * cells.rows
    image = f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}'></svg>"
    regions = []
    for number, shape in enumerate(shapes):
        points = [cells.place(number, x, y) for x, y in shape["points"]]
        region = {"id": f"shape{number}", "type": "polygonlabels", "from_name": "polygon", "to_name": "image", "image_rotation": 0}
        region |= {"original_width": width, "original_height": height}
        regions.append(region | {"value": {"points": points, "closed": True, "polygonlabels": ["a"]}})
    data = {"image": "data:image/svg+xml;base64," + base64.b64encode(image.encode()).decode()}
    return {"id": 1, "data": data, "predictions": [], "annotations": [{"id": 1, "result": regions}]}


def read_canvas(folder, task, places):
    """The least and the greatest alpha at each place."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with tempfile.TemporaryDirectory() as work:
            browser = Browser(work, os.environ["CHROMEDRIVER"], os.environ["CHROMIUM"])
            try:
                browser.open(f"http://127.0.0.1:{server.server_address[1]}/")
                browser.run("return openTask(...arguments)", *list_files(folder), CONFIG, task)
                return wait_for_canvas(browser, places)
            finally:
                browser.close()
    finally:
        server.shutdown()


def wait_for_canvas(browser, places):
    """Reads until two readings in a row are the same."""
    before = None
    for _ in range(60):
        now = browser.run("return readAlpha(arguments[0])", places)
        if now and now == before:
            return now
        before = now
        time.sleep(0.5)
    raise SystemExit("the editor drew nothing within half a minute")


def name_fill(alpha):
    """`#` for filled, `.` for not, `?` at an edge of the fill."""
    least, greatest = alpha
    return "#" if least == 255 else "." if greatest == 0 else "?"


def sides(points):
    return zip(points, points[1:] + points[:1])


def distance_to_outline(points, x, y):
    """Returns the distance in percent of the width of an image whose sides are as 4 to 3."""
    nearest = math.inf
    for (x0, y0), (x1, y1) in sides(points):
        dx, dy, px, py = x1 - x0, 0.75 * (y1 - y0), x - x0, 0.75 * (y - y0)
        length = dx * dx + dy * dy
        along = min(1, max(0, (px * dx + py * dy) / length)) if length else 0
        nearest = min(nearest, math.hypot(px - along * dx, py - along * dy))
    return nearest


def winding_number(points, x, y):
    """Returns how often the outline goes around a place, clockwise on the screen."""
    turns = 0
    for (x0, y0), (x1, y1) in sides(points):
        if (y0 <= y) != (y1 <= y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            turns += 1 if y0 <= y else -1
    return turns


def find_faces(points):
    """The innermost place of each area between the lines of an outline, the outside among them; slivers are left out."""
    columns, rows = 120, 90
    depth = {}
    for row in range(rows):
        for column in range(columns):
            x, y = (column + 0.5) * 100 / columns, (row + 0.5) * 100 / rows
            distance = distance_to_outline(points, x, y)
            if distance > 0.8:
                depth[column, row] = distance
    faces = []
    while depth:
        start = max(depth, key=depth.get)
        if depth[start] < 1.5:
            break
        faces.append([round((start[0] + 0.5) * 100 / columns, 2), round((start[1] + 0.5) * 100 / rows, 2)])
        pending = [start]
        while pending:
            column, row = pending.pop()
            if depth.pop((column, row), None) is not None:
                pending += [(column + 1, row), (column - 1, row), (column, row + 1), (column, row - 1)]
    return faces


def draw_shapes(folder, shapes):
    """Gives each shape the rows that the editor fills, and its faces."""
    cells = Cells(len(shapes))
    faces = [[face["at"] for face in shape.get("faces", [])] or find_faces(shape["points"]) for shape in shapes]
    places = []
    for number in range(len(shapes)):
        pixels = [((column + 0.5) * 100 / WIDTH, (row + 0.5) * 100 / HEIGHT) for row in range(HEIGHT) for column in range(WIDTH)]
        places += [cells.place(number, x, y) for x, y in pixels + faces[number]]
    alphas = iter(read_canvas(folder, make_task(shapes, cells), places))
    drawn = []
    for shape, places in zip(shapes, faces):
        rows = ["".join(name_fill(next(alphas)) for _ in range(WIDTH)) for _ in range(HEIGHT)]
        found = []
        for x, y in places:
            fill = name_fill(next(alphas))
            found.append({"at": [x, y], "winding": winding_number(shape["points"], x, y), "fill": fill})
        drawn.append({"name": shape["name"], "points": shape["points"], "faces": found, "rows": rows})
    return drawn


def write_fixture(document):
    """One line for each point, face and row."""
    text = json.dumps(document, indent=1, ensure_ascii=False)
    text = re.sub(r"\[\s+([-\d.]+),\s+([-\d.]+)\s+\]", r"[\1, \2]", text)
    text = re.sub(r"\{\s+(\"at\": .+),\s+(.+),\s+(.+)\s+\}", r"{\1, \2, \3}", text)
    FIXTURE.write_text(text + "\n")


def compare(expected, drawn):
    passed = failed = 0
    for old, new in zip(expected, drawn):
        checks = [(f"face at {face['at']}", face, found) for face, found in zip(old["faces"], new["faces"])]
        checks.append(("pixels", old["rows"], new["rows"]))
        for what, wanted, found in checks:
            if wanted == found:
                passed += 1
                continue
            failed += 1
            print(f"FAILED {old['name']}, {what}:")
            print("\n".join(found) if what == "pixels" else f"{found}, not {wanted}")
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    document = json.loads(FIXTURE.read_text())
    if arguments.write:
        for shape in document["shapes"]:
            shape.pop("faces", None)
    drawn = draw_shapes(arguments.folder, document["shapes"])
    if arguments.write:
        write_fixture(document | {"shapes": drawn})
    passed, failed = compare(drawn if arguments.write else document["shapes"], drawn)
    print(f"passed: {passed}\nfailed: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
