"""The commands of DeepMatrixInversion, with its flags, defaults and file names: thin aliases of those of ``skdmi``."""
