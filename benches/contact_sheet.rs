//! Times drawing a contact sheet of ten scenes of 1024 x 768 pixels, each with its mask. Prints the
//! median of twenty sheets in milliseconds: `cargo run --release --example contact_sheet`.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use image::{GrayImage, Luma, Rgb, RgbImage};
use maskmaker::render::{
    ContactSheet, SheetRow, cell_side_px, draw_classes, draw_contact_sheet, rasterize,
};

const SHEETS: usize = 20;
const SCENES: u32 = 10;

fn main() {
    let mut scenes = Vec::new();
    for number in 0..SCENES {
        let image = RgbImage::from_fn(1024, 768, |x, y| {
            Rgb([(x / 4) as u8, (y / 3) as u8, (x * number / 40) as u8])
        });
        let ids = GrayImage::from_fn(1024, 768, |x, y| Luma([((x / 90 + y / 70) % 21) as u8]));
        scenes.push((image, ids));
    }
    let names: Vec<String> = (0..21).map(|id| format!("class {id}")).collect();
    let columns = ["image", "annotation"].map(str::to_owned);
    let mut milliseconds = Vec::new();
    for _ in 0..SHEETS {
        let started = Instant::now();
        let mut rows = Vec::new();
        for (index, (image, ids)) in scenes.iter().enumerate() {
            let pictures = vec![image.clone(), draw_classes(image, ids)];
            rows.push(SheetRow { name: format!("scene-{index}.jpg"), pictures });
        }
        let sheet = rasterize(&draw_contact_sheet(&ContactSheet {
            title: &["ten scenes".to_owned()],
            columns: &columns,
            rows: &rows,
            cell_px: cell_side_px(1024),
            ids: &scenes[0].1,
            class_names: &names,
        }));
        assert!(sheet.width() >= 1024);
        milliseconds.push(started.elapsed().as_secs_f64() * 1e3);
    }
    milliseconds.sort_by(f64::total_cmp);
    println!("a sheet of ten scenes: {:.1} ms (median)", milliseconds[SHEETS / 2]);
}
