# The consent ledger: one image for every process; the command says which.
# docker-compose.yml shows how they belong together.
FROM python:3.11-slim

# A number, so that an orchestrator can see that it is not root.
RUN useradd --system --uid 10001 --no-create-home ledger \
    && install --directory --owner=ledger --mode=700 /var/lib/consent-ledger

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY ledger ledger
COPY projections projections
RUN pip install --no-cache-dir --constraint constraints.txt .

USER 10001
# The folder is for the embedded PostgreSQL, where DATABASE_URL is not set.
ENV LEDGER_HOST=0.0.0.0 \
    LEDGER_DATA_DIR=/var/lib/consent-ledger \
    PYTHONUNBUFFERED=1
EXPOSE 8080
# SIGTERM, Docker's default, commits and answers what was accepted.
ENTRYPOINT ["consent-ledger"]
CMD ["serve"]
