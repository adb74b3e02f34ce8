"""Asking a client for an answer or for a refusal."""


def generate(client, **body):
    response = client.post("/generate", json={"prompt": "hello"} | body)
    assert response.status_code == 200, response.text
    return response.json()


def refused(client, status=400, **body):
    response = client.post("/generate", json={"prompt": "hello"} | body)
    assert response.status_code == status, response.text
    return response.json()["error"]


def texts(answer):
    return [choice["text"] for choice in answer["choices"]]
