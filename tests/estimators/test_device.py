"""Where a fit takes place."""

import pickle

import numpy as np
import pytest
import torch

from flatcausal.exceptions import ParameterError
from flatcausal.optim import names
from tests.estimators.fits import assert_same, bits, classes, classifier, regressor, table

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.mark.parametrize("device", ["cpu", "cpu:0", torch.device("cpu")], ids=str)
def test_the_cpu_by_any_name(device):
    est = regressor(device=device).fit(*table())
    assert est.net_.module_.population.device.type == "cpu"
    assert_same(bits(est), bits(regressor().fit(*table())))
    assert est.device is device


def test_auto_takes_a_gpu_if_there_is_one():
    est = regressor(device="auto").fit(*table())
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert est.net_.module_.population.device.type == expected
    assert est.device == "auto"


@pytest.mark.parametrize("device", ["gpu", "", None, -3, 1.5, [], ["cpu"]], ids=repr)
def test_what_is_no_device_is_named(device):
    with pytest.raises(ParameterError, match="device must be"):
        regressor(device=device).fit(*table())


@pytest.mark.parametrize("device", ["cuda:63", "meta", "mps", "xpu", torch.device("cuda", 63)], ids=str)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_device_that_is_not_there_is_named(device, method):
    if str(device) in ("mps", "xpu") and getattr(torch, str(device)).is_available():
        pytest.skip("this machine has one")
    est = regressor(device=device)
    with pytest.raises(ParameterError, match="no such device here"):
        getattr(est, method)(*table())
    assert not hasattr(est, "net_")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_named():
    with pytest.raises(ParameterError, match="device='cuda'"):
        regressor(device="cuda").fit(*table())


@needs_gpu
@pytest.mark.parametrize("optimizer", names())
def test_a_fit_on_a_gpu_is_that_on_the_cpu_up_to_rounding(optimizer):
    params = {"optimizer": optimizer, "max_epochs": 2}
    X, _ = table()
    on_gpu, on_cpu = (regressor(**params, device=device).fit(*table()) for device in ("cuda", "cpu"))
    assert on_gpu.net_.module_.population.is_cuda
    np.testing.assert_allclose(on_gpu.predict(X), on_cpu.predict(X), rtol=0.02, atol=0.02)
    np.testing.assert_allclose(on_gpu.causal_importances_, on_cpu.causal_importances_, atol=0.02)


@needs_gpu
@pytest.mark.parametrize(("make", "data"), [(regressor, table), (classifier, classes)])
def test_a_model_from_a_gpu_predicts_on_the_cpu(make, data, tmp_path):
    X, y = data()
    est = make(device="cuda", early_stopping=True).fit(X, y, np.linspace(0, 1, 70))
    est.save_weights(tmp_path / "model", optimizer_state=True)
    loaded = make(device="cpu").load_weights(tmp_path / "model")
    for twin in (pickle.loads(pickle.dumps(est)), loaded):
        assert not twin.net_.module_.population.is_cuda
        np.testing.assert_allclose(twin.predict_members(X), est.predict_members(X), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(twin.explain(X), est.explain(X), atol=1e-5)
        np.testing.assert_array_equal(twin.causal_importances_, est.causal_importances_)
    loaded.partial_fit(X, y)
    est.set_params(early_stopping=False).partial_fit(X, y)
    assert est.net_.module_.population.is_cuda


@needs_gpu
def test_a_fit_on_a_gpu_goes_on_from_its_checkpoint(tmp_path):
    from tests.estimators.fits import interrupt

    params = {"device": "cuda", "optimizer": "adam", "max_epochs": 4}
    est = regressor(**params, checkpoint_dir=tmp_path, callbacks=[interrupt(3)])
    with pytest.raises(KeyboardInterrupt):
        est.fit(*table())
    est.set_params(callbacks=None).fit(*table())
    assert est.n_iter_ == 4
    X, _ = table()
    np.testing.assert_allclose(
        est.predict(X), regressor(**params).fit(*table()).predict(X), rtol=0.02, atol=0.02
    )
