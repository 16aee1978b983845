//! Pixels: upright decoding of every input format under limits, palette PNG, resizing.
