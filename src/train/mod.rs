//! Criterion, optimizers, schedules and the epoch loop.
