class TaskManager:
    def __init__(self, verbosity, include_path=None, model_name=None):
        self.include_path = include_path
        self.model_name = model_name
