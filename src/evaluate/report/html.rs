//! Writing of HTML, in which every text of users is escaped.

use std::fmt::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The page's style. Nothing in it is fetched from elsewhere.
const STYLE: &str = include_str!("report.css");

/// An HTML page that is being written.
pub(super) struct Page {
    html: String,
}

/// A text that is escaped where it is displayed.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// A cell of a table.
pub(super) enum Cell {
    Text(String),
    /// A number, which stands at the right.
    Number(String),
    /// A swatch of a color: red, green and blue.
    Color([u8; 3]),
}

impl Page {
    /// Starts a page with this title.
    pub(super) fn new(title: &str) -> Self {
        let title = Escaped(title);
        let html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1>{title}</h1>\n"
        );
        Self { html }
    }

    /// Ends the page.
    pub(super) fn finish(mut self) -> String {
        self.html.push_str("</main>\n</body>\n</html>\n");
        self.html
    }

    /// Writes a line of HTML. Writing to a string cannot fail.
    fn write_line(&mut self, line: fmt::Arguments<'_>) {
        let _ = self.html.write_fmt(line);
        self.html.push('\n');
    }

    /// Writes the heading of a section.
    pub(super) fn heading(&mut self, text: &str) {
        self.write_line(format_args!("<h2>{}</h2>", Escaped(text)));
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.write_line(format_args!("<p>{}</p>", Escaped(text)));
    }

    /// Writes a paragraph of this class of the style.
    pub(super) fn note(&mut self, class: &str, text: &str) {
        self.write_line(format_args!("<p class=\"{class}\">{}</p>", Escaped(text)));
    }

    /// Writes a table whose first row names the columns. `id` names it for tests and links.
    pub(super) fn table(&mut self, id: &str, columns: &[&str], rows: Vec<Vec<Cell>>) {
        self.write_line(format_args!("<div class=\"scroll\"><table id=\"{id}\"><thead><tr>"));
        for column in columns {
            self.write_line(format_args!("<th>{}</th>", Escaped(column)));
        }
        self.write_line(format_args!("</tr></thead><tbody>"));
        for row in rows {
            self.html.push_str("<tr>");
            for cell in row {
                let _ = match cell {
                    Cell::Text(text) => write!(self.html, "<td>{}</td>", Escaped(&text)),
                    Cell::Color([red, green, blue]) => write!(
                        self.html,
                        "<td><span class=\"swatch\" style=\"background:rgb({red},{green},{blue})\"></span></td>"
                    ),
                    Cell::Number(text) => {
                        write!(self.html, "<td class=\"number\">{}</td>", Escaped(&text))
                    }
                };
            }
            self.html.push_str("</tr>\n");
        }
        self.write_line(format_args!("</tbody></table></div>"));
    }

    /// Writes a chart, which is an SVG document, with a text for those who do not see it.
    pub(super) fn chart(&mut self, svg: &str, description: &str) {
        let svg = STANDARD.encode(svg);
        self.write_line(format_args!(
            "<div class=\"scroll\"><img class=\"chart\" alt=\"{}\" src=\"data:image/svg+xml;base64,{svg}\"></div>",
            Escaped(description)
        ));
    }

    /// Writes a picture, a JPEG, as wide as a chart.
    pub(super) fn picture(&mut self, jpeg: &[u8], description: &str) {
        let jpeg = STANDARD.encode(jpeg);
        self.write_line(format_args!(
            "<img class=\"chart\" alt=\"{}\" src=\"data:image/jpeg;base64,{jpeg}\">",
            Escaped(description)
        ));
    }

    /// Writes pictures side by side, each a JPEG with its name, under a caption.
    pub(super) fn pictures(&mut self, caption: &str, pictures: &[(&str, Vec<u8>)]) {
        self.write_line(format_args!(
            "<figure><figcaption>{}</figcaption><div class=\"pictures\">",
            Escaped(caption)
        ));
        for (name, jpeg) in pictures {
            let (name, jpeg) = (Escaped(name), STANDARD.encode(jpeg));
            self.write_line(format_args!(
                "<div><img alt=\"{name}\" src=\"data:image/jpeg;base64,{jpeg}\"><span>{name}</span></div>"
            ));
        }
        self.write_line(format_args!("</div></figure>"));
    }
}
