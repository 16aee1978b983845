//! Tests of ranges and samplers together.

mod halving;
mod parzen;
mod ranges;
mod samplers;
mod searches;
