# The page, the API and the bundled model; memories are kept in the volume /data.
FROM python:3.12-slim

WORKDIR /imprint
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt "psycopg[binary]>=3.3,<4"
COPY launch.py .
COPY core core
COPY storage storage
COPY app app
COPY models models

RUN useradd --create-home imprint && install --directory --owner imprint --mode 700 /data
USER imprint
VOLUME /data
ENV IMPRINT_HOST=0.0.0.0 IMPRINT_PASSPHRASES=1 IMPRINT_DATABASE_URL=sqlite:////data/imprint.db
EXPOSE 7860
HEALTHCHECK --start-period=30s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860/readyz')"]
CMD ["python", "launch.py"]
