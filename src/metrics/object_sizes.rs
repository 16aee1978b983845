//! How much of small, medium and large objects is found. The bounds of the sizes are those of COCO's
//! evaluation (<https://cocodataset.org/#detection-eval>); an object is a region of one class.

use super::IGNORE_INDEX;

/// Size of an object by its number of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectSize {
    /// Fewer than 32 x 32 pixels.
    Small,
    /// Fewer than 96 x 96 pixels.
    Medium,
    Large,
}

/// All sizes, the smallest first.
pub const OBJECT_SIZES: [ObjectSize; 3] =
    [ObjectSize::Small, ObjectSize::Medium, ObjectSize::Large];

impl ObjectSize {
    fn from_pixels(pixels: u64) -> Self {
        match pixels {
            0..1024 => Self::Small,
            1024..9216 => Self::Medium,
            _ => Self::Large,
        }
    }

    /// Returns the name in files: `small`, `medium` or `large`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }
}

/// Counts of the objects of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ObjectCounts {
    pub objects: u64,
    /// Pixels of these objects in the truth.
    pub pixels: u64,
    /// Pixels of them that are predicted as their class.
    pub true_positives: u64,
}

/// Counts the objects of the truth by size, in the order of [`OBJECT_SIZES`]. An object is a region
/// of pixels of one class that touch at their sides; class 0 is the background, and no object. Both
/// masks have `width` columns and as many pixels.
pub fn count_objects(truth: &[u8], predicted: &[u8], width: u32) -> [ObjectCounts; 3] {
    let mut counts = [ObjectCounts::default(); 3];
    let columns = (width as usize).max(1);
    let mut is_visited = vec![false; truth.len()];
    let mut to_visit = Vec::new();
    for start in 0..truth.len() {
        let class = truth[start];
        if is_visited[start] || class == 0 || class == IGNORE_INDEX {
            continue;
        }
        let mut object = ObjectCounts { objects: 1, ..ObjectCounts::default() };
        is_visited[start] = true;
        to_visit.push(start);
        while let Some(index) = to_visit.pop() {
            object.pixels += 1;
            object.true_positives += u64::from(predicted[index] == class);
            let column = index % columns;
            let left = (column > 0).then(|| index - 1);
            let right = (column + 1 < columns).then_some(index + 1);
            let neighbors = [left, right, index.checked_sub(columns), Some(index + columns)];
            for neighbor in neighbors.into_iter().flatten() {
                if neighbor < truth.len() && truth[neighbor] == class && !is_visited[neighbor] {
                    is_visited[neighbor] = true;
                    to_visit.push(neighbor);
                }
            }
        }
        let of_size = &mut counts[ObjectSize::from_pixels(object.pixels) as usize];
        of_size.objects += 1;
        of_size.pixels += object.pixels;
        of_size.true_positives += object.true_positives;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn objects_are_regions_of_one_class() {
        // Two objects of class 1 that touch at a corner alone, and one of class 2.
        let truth = [1, 1, 0, 2, 0, 0, 1, 2, 255, 255, 1, 2];
        let predicted = [1, 0, 0, 2, 1, 0, 1, 2, 1, 1, 2, 2];
        let counts = count_objects(&truth, &predicted, 4);
        assert_eq!(counts[0], ObjectCounts { objects: 3, pixels: 7, true_positives: 5 });
        assert_eq!(counts[1..], [ObjectCounts::default(); 2]);
        assert_eq!(count_objects(&[], &[], 0), [ObjectCounts::default(); 3]);
    }

    #[test]
    fn sizes_have_cocos_bounds() {
        for (pixels, size) in [(1023, 0), (1024, 1), (9215, 1), (9216, 2)] {
            let truth = vec![1; pixels];
            let counts = count_objects(&truth, &truth, 64);
            assert_eq!(counts[size].pixels, pixels as u64, "{pixels}");
        }
    }

    proptest! {
        #[test]
        fn every_pixel_of_an_object_counts_once(
            width in 1_usize..12,
            pixels in prop::collection::vec((prop_oneof![0_u8..3, Just(255)], 0_u8..3), 0..120),
        ) {
            let pixels = &pixels[..pixels.len() / width * width];
            let (truth, predicted): (Vec<u8>, Vec<u8>) = pixels.iter().copied().unzip();
            let counts = count_objects(&truth, &predicted, width as u32);
            let is_object = |&(truth, _): &(u8, u8)| truth != 0 && truth != 255;
            let expected = pixels.iter().filter(|&pixel| is_object(pixel)).count() as u64;
            let right = pixels.iter().filter(|&pixel| is_object(pixel) && pixel.0 == pixel.1);
            prop_assert_eq!(counts[0].pixels, expected);
            prop_assert_eq!(counts[0].true_positives, right.count() as u64);
            prop_assert!(counts[0].objects <= expected);
        }
    }
}
