import hashlib
from pathlib import Path


def get_model(name, force_simple=False):
    return {"llava_hf": LlavaHf, "echo": Echo}[name]


class Model:
    @classmethod
    def create_from_arg_string(cls, text, extra):
        return cls(**dict(pair.split("=") for pair in text.split(",")), **extra)


class Echo(Model):
    """Answers by the weights alone, at once."""

    def __init__(self, pretrained, batch_size=1, **others):
        weights = (Path(pretrained) / "model.safetensors").read_bytes()
        self.said = hashlib.sha256(weights).hexdigest()[:8]

    def answer(self, question):
        return self.said


class LlavaHf(Model):
    def __init__(self, pretrained, dtype="auto", device_map="cpu", batch_size=1, device="cpu"):
        from transformers import AutoProcessor, LlavaForConditionalGeneration

        self._model = LlavaForConditionalGeneration.from_pretrained(pretrained, dtype=dtype)
        self.processor = AutoProcessor.from_pretrained(pretrained)

    def answer(self, question):
        from PIL import Image

        parts = [{"type": "image"}, {"type": "text", "text": question["text"]}]
        text = self.processor.apply_chat_template(
            [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
        )
        image = Image.open(question["image"]).convert("RGB")
        inputs = self.processor(images=[image], text=text, return_tensors="pt")
        ids = self._model.generate(**inputs, max_new_tokens=12, do_sample=False)
        fresh = ids[:, inputs["input_ids"].shape[1] :]
        return self.processor.batch_decode(fresh, skip_special_tokens=True)[0].strip()
