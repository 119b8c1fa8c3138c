from mer_hf.hub import check_whole, pack, save_model_folder  # noqa: F401
