//! One color per class, the same in masks, overlays and legends.

/// The color of class `id`: the PASCAL VOC color map, in which 0 is black, 1 dark red, 2 dark
/// green, and 255, the ignored border, is cream (224, 224, 192).
pub fn class_color(id: u8) -> [u8; 3] {
    // Bit 3k + c of the id becomes bit 7 - k of channel c: near ids get far colors.
    let mut color = [0; 3];
    for bit in 0..8 {
        color[bit % 3] |= ((id >> bit) & 1) << (7 - bit / 3);
    }
    color
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_are_those_of_pascal_voc() {
        assert_eq!(class_color(0), [0, 0, 0]);
        assert_eq!(class_color(1), [128, 0, 0]);
        assert_eq!(class_color(5), [128, 0, 128]);
        assert_eq!(class_color(15), [192, 128, 128]);
        assert_eq!(class_color(20), [0, 64, 128]);
        assert_eq!(class_color(255), [224, 224, 192]);
    }
}
