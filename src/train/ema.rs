//! An exponential moving average of weights, which often scores better than the weights of the last
//! step.

use crate::error::Result;
use crate::model::Network;

/// The average of a network's weights. BatchNorm's statistics are averaged like weights.
#[derive(Debug)]
pub struct Ema {
    /// Network with the averaged weights.
    pub network: Network,
    decay: f64,
}

impl Ema {
    /// Starts an average at the network's weights.
    pub fn new(decay: f64, network: &Network) -> Result<Self> {
        Ok(Self { network: network.copy()?, decay })
    }

    /// Goes on with the averaged weights that `network` holds.
    pub fn resume(decay: f64, mut network: Network, trained_network: &Network) -> Result<Self> {
        network.precision = trained_network.precision;
        Self::new(decay, &network)
    }

    /// Takes in the weights after update `updates`, counted from 1.
    pub fn update(&mut self, network: &Network, updates: i64) -> Result<()> {
        let decay = decay_at_update(self.decay, updates);
        self.network.weights.lerp_towards(&network.weights, 1.0 - decay)
    }
}

/// Returns the decay of an update, counted from 1. It rises to `decay`, so that the first weights
/// do not stay in the average of a short job (TensorFlow's `ExponentialMovingAverage` with
/// `num_updates`).
fn decay_at_update(decay: f64, updates: i64) -> f64 {
    let updates = updates as f64;
    decay.min((1.0 + updates) / (10.0 + updates))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Algorithm, Architecture, Backbone};
    use tch::{Device, Tensor};

    #[test]
    fn the_average_is_that_of_the_formula_and_leaves_the_weights_alone() {
        let kind = Architecture { algorithm: Algorithm::Fcn, backbone: Backbone::Resnet18 };
        let mut network = Network::random(kind, 2, 1, Device::Cpu).unwrap();
        let mut ema = Ema::new(0.5, &network).unwrap();
        let name = "classifier.4.bias";
        let read_bias = |network: &Network| {
            Vec::<f32>::try_from(network.weights.get("classifier.4", "bias").unwrap()).unwrap()
        };
        let mut expected = f64::from(read_bias(&network)[0]);
        for update in 1..=20 {
            let weight = f64::from(update as f32);
            network.weights.replace(name, &Tensor::from_slice(&[weight as f32; 2])).unwrap();
            ema.update(&network, update).unwrap();
            let decay = 0.5f64.min((1.0 + weight) / (10.0 + weight));
            expected = decay * expected + (1.0 - decay) * weight;
            assert!((f64::from(read_bias(&ema.network)[0]) - expected).abs() < 1e-4, "{update}");
            assert_eq!(read_bias(&network), [weight as f32; 2]);
        }
    }
}
