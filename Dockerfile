# The image has the manager, the public certificate authorities, and nothing else: no base image, so
# nothing in it needs updates but the program. `make image` builds the same files without Docker.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) \
#     --build-arg VERSION=$(cat VERSION) --build-arg REVISION=$(git rev-parse HEAD) --tag registry.example.com/goshawk:v0.1.0 --push .
#
# The builder compiles for the target platform on its own one, without emulation. No file of its image
# gets into the result: the compiler has the version that is named here, the modules and the certificate
# authorities are pinned by go.sum, and -trimpath, -buildvcs=false and an empty build id keep paths and
# times out of the program. So another image with this version of Go, such as a mirror with a digest, has
# the same result: --build-arg GO_IMAGE=registry.example.com/golang:1.26.8@sha256:...
ARG GO_IMAGE=docker.io/library/golang:1.26.8@sha256:6c2a5538f964f1c82f97ad14988bf05de100d922d159d0e398b54c7b0ca0c6c9
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
ENV CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-trimpath
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN mkdir -p /image/etc/ssl/certs && go run ./hack/release certificates /image/etc/ssl/certs/ca-certificates.crt
ARG TARGETOS
ARG TARGETARCH
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH go build -buildvcs=false -ldflags="-s -w -buildid=" -o /image/goshawk .

FROM scratch
ARG VERSION=main
ARG REVISION
LABEL org.opencontainers.image.title="goshawk" \
      org.opencontainers.image.description="Device software rollouts for Kubernetes, the GitOps way" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/goshawk-dev/goshawk" \
      org.opencontainers.image.documentation="https://github.com/goshawk-dev/goshawk/tree/${VERSION}/docs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image/ /
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/goshawk"]
