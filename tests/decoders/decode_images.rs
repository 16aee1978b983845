//! Decodes images as every command does, for `tests/decoders/run.sh`: reads paths on standard input,
//! one a line, and answers each with a line `ok WIDTH HEIGHT` and the upright RGB samples, or with a
//! line `refused REASON`.

use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::{fs, io};

use maskmaker::imaging::{DecodeLimits, decode_upright};

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::BufWriter::new(stdout().lock());
    for path in stdin().lock().lines() {
        let bytes = fs::read(path?)?;
        match decode_upright(&bytes, DecodeLimits::default()) {
            Ok(image) => {
                writeln!(out, "ok {} {}", image.width(), image.height())?;
                out.write_all(image.as_raw())?;
            }
            Err(error) => writeln!(out, "refused {}", error.to_string().replace('\n', " "))?,
        }
        out.flush()?;
    }
    Ok(())
}
