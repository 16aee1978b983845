"""model.pt in Python: the program's own logits, torchvision's names, and a module's usual manners."""
import pytest
import torch
import torchvision
from conftest import Model, relative_difference

TOLERANCE = 1e-5
# Those that torchvision has too.
PEERS = {"fcn-resnet-50": "fcn_resnet50", "deeplab-resnet-50": "deeplabv3_resnet50"}


def load(model):
    return torch.jit.load(model.folder / "model.pt")


def torchvisions(model):
    build = getattr(torchvision.models.segmentation, PEERS[model.name])
    return build(weights=None, weights_backbone=None, num_classes=5, aux_loss=True).eval()


def test_logits_are_rusts_at_odd_sizes(model):
    module = load(model)
    assert not module.training and not any(p.requires_grad for p in module.parameters())
    for size, answer in model.answers.items():
        got = module(answer["input"])
        assert list(got) == ["out", "aux"]
        for head in got:
            difference = relative_difference(got[head], answer[head])
            print(f"{model.name} {size} {head}: largest difference {difference:.1e} of the largest logit")
            assert difference <= TOLERANCE


def test_the_state_dict_is_that_of_the_safetensors_file(model):
    state = load(model).state_dict()
    assert set(state) == set(model.weights)
    for name, tensor in model.weights.items():
        assert torch.equal(state[name], tensor) and state[name].dtype == tensor.dtype, name


@pytest.mark.parametrize("name", PEERS)
def test_torchvision_takes_the_state_dict_and_computes_the_same(name):
    model = Model(name)
    module, peer = load(model), torchvisions(model)
    assert list(module.state_dict()) == list(peer.state_dict())
    peer.load_state_dict(module.state_dict())
    buffers = {name for name, _ in peer.named_buffers()}
    assert {name for name, _ in module.named_buffers()} == buffers
    for answer in model.answers.values():
        with torch.no_grad():
            expected = peer(answer["input"])
        for head, got in module(answer["input"]).items():
            assert relative_difference(got, expected[head]) <= TOLERANCE


def test_one_image_gives_what_it_gives_in_a_batch(model):
    module = load(model)
    answer = model.answers["65x72"]
    assert relative_difference(module(answer["input"][:1])["out"], answer["out"][:1]) <= TOLERANCE


def test_training_mode_is_torchvisions(fcn50):
    module, peer = load(fcn50).train(), torchvisions(fcn50)
    peer.load_state_dict(fcn50.weights)
    peer.train()
    x = fcn50.answers["65x72"]["input"]
    torch.manual_seed(0)
    got = module(x)["out"]
    torch.manual_seed(0)
    expected = peer(x)["out"]
    assert relative_difference(got, expected.detach()) <= 1e-3, "batch statistics and dropout"
    for name, buffer in peer.named_buffers():
        learned = dict(module.named_buffers())[name]
        assert torch.allclose(learned, buffer, rtol=1e-3, atol=1e-4), name
    assert module.backbone.bn1.num_batches_tracked == 124
    # Parts of it can be held still, as when fine-tuning a head.
    module.backbone.eval()
    before = module.backbone.bn1.running_mean.clone()
    module(x)
    assert torch.equal(module.backbone.bn1.running_mean, before)


def test_parameters_can_learn(fcn50):
    module = load(fcn50)
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    module(fcn50.answers["65x72"]["input"])["out"].sum().backward()
    assert module.backbone.conv1.weight.grad.abs().max() > 0


@pytest.mark.parametrize("prepare", [torch.jit.freeze, lambda module: torch.jit.optimize_for_inference(torch.jit.freeze(module))])
def test_freezing_and_optimising_keep_the_answer(fcn50, prepare):
    module = prepare(load(fcn50))
    answer = fcn50.answers["127x81"]
    with torch.no_grad():
        assert relative_difference(module(answer["input"])["out"], answer["out"]) <= 1e-4


def test_bfloat16_runs_too(fcn50):
    answer = fcn50.answers["65x72"]
    got = load(fcn50).to(torch.bfloat16)(answer["input"].bfloat16())["out"].float()
    assert relative_difference(got, answer["out"]) <= 0.1
