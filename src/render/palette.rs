//! Colors of charts. Lines and surfaces differ in lightness or in their dashes too, so that they can
//! be told apart in gray and by people who do not see red and green apart.

use super::scene::Rgb;

pub(super) const BACKGROUND: Rgb = [255; 3];
/// Titles, names and values.
pub(super) const INK: Rgb = [31, 35, 40];
/// Labels of axes, and what is said beside the point.
pub(super) const MUTED_INK: Rgb = [89, 99, 110];
/// Lines behind curves and bars.
pub(super) const GRID: Rgb = [225, 229, 234];

/// Colors of the curves of a panel, in their order: those of Okabe and Ito, without the light ones
/// (<https://jfly.uni-koeln.de/color/>).
pub(super) const CURVES: [Rgb; 4] = [[0, 114, 178], [213, 94, 0], [0, 158, 115], [94, 60, 153]];

/// Colors from 0 to 1, whose lightness falls evenly.
const HEAT: [Rgb; 5] =
    [[247, 251, 255], [198, 219, 239], [107, 174, 214], [33, 113, 181], [8, 48, 107]];

/// Position on the scale from which on white letters differ more from the color than black ones.
const DARK_HEAT: f64 = 0.715;

/// Returns the color of a position, 0 to 1, on the scale: nearly white to dark blue.
pub(super) fn heat_color(share: f64) -> Rgb {
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    let position = share * (HEAT.len() - 1) as f64;
    let index = (position as usize).min(HEAT.len() - 2);
    let fraction = position - index as f64;
    let (low, high) = (HEAT[index], HEAT[index + 1]);
    std::array::from_fn(|channel| {
        let (low, high) = (f64::from(low[channel]), f64::from(high[channel]));
        (low + (high - low) * fraction).round() as u8
    })
}

/// Returns the color of letters on [`heat_color`] of a share: black or white, whichever differs more.
pub(super) fn heat_ink(share: f64) -> Rgb {
    if share < DARK_HEAT { [0; 3] } else { [255; 3] }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a color as people without cones for red (protanopia) or green (deuteranopia) see it:
    /// Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color
    /// Vision Deficiency" (2009), severity 1.
    fn simulate(matrix: [[f64; 3]; 3], color: Rgb) -> [f64; 3] {
        let linear = color.map(|value| (f64::from(value) / 255.0).powf(2.2));
        matrix.map(|row| {
            let value: f64 = row.iter().zip(linear).map(|(weight, value)| weight * value).sum();
            value.clamp(0.0, 1.0).powf(1.0 / 2.2) * 255.0
        })
    }

    const PROTANOPIA: [[f64; 3]; 3] = [
        [0.152_286, 1.052_583, -0.204_868],
        [0.114_503, 0.786_281, 0.099_216],
        [-0.003_882, -0.048_116, 1.051_998],
    ];
    const DEUTERANOPIA: [[f64; 3]; 3] = [
        [0.367_322, 0.860_646, -0.227_968],
        [0.280_085, 0.672_501, 0.047_413],
        [-0.011_820, 0.042_940, 0.968_881],
    ];

    /// Returns how light a color is, 0 (black) to 1 (white)
    /// (<https://www.w3.org/TR/WCAG21/#dfn-relative-luminance>).
    fn relative_luminance([red, green, blue]: Rgb) -> f64 {
        let linear = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }

    /// Returns the contrast of two colors, 1 to 21
    /// (<https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio>).
    fn contrast(first: Rgb, second: Rgb) -> f64 {
        let (first, second) = (relative_luminance(first), relative_luminance(second));
        (first.max(second) + 0.05) / (first.min(second) + 0.05)
    }

    #[test]
    fn curves_are_told_apart_without_red_and_green() {
        for matrix in [PROTANOPIA, DEUTERANOPIA] {
            for (index, first) in CURVES.iter().enumerate() {
                for second in &CURVES[index + 1..] {
                    let (a, b) = (simulate(matrix, *first), simulate(matrix, *second));
                    let squares: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
                    assert!(squares.sqrt() > 40.0, "{first:?} {second:?} {a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn heat_gets_darker_with_the_share_and_its_numbers_can_be_read() {
        let mut before = 2.0;
        for percent in 0..=100 {
            let color = heat_color(f64::from(percent) / 100.0);
            let luminance = relative_luminance(color);
            assert!(luminance < before, "{percent}");
            before = luminance;
            let ink = heat_ink(f64::from(percent) / 100.0);
            assert!(contrast(color, ink) > 4.5, "{percent} {color:?} {}", contrast(color, ink));
        }
        assert_eq!((heat_color(-1.0), heat_color(2.0)), (HEAT[0], HEAT[4]));
        assert_eq!(heat_color(f64::NAN), HEAT[0]);
    }

    #[test]
    fn texts_and_curves_stand_out() {
        for color in [INK, MUTED_INK] {
            assert!(contrast(color, BACKGROUND) > 4.5, "{color:?}");
        }
        for color in CURVES {
            assert!(contrast(color, BACKGROUND) > 3.0, "{color:?}");
        }
    }
}
