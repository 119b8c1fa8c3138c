"""What ties mer_hf to transformers and the Hub.

registration: transformers knows the classes and the pipeline task
models: a name -> a model; folder: a model -> a folder that loads anywhere; cards: its results -> README.md;
push: a folder -> the Hub, over connection
"""
