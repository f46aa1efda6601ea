// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"aead.dev/minisign"
	"golang.org/x/time/rate"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/internal/agent/ddi"
	"github.com/goshawk-dev/goshawk/internal/agent/disk"
	"github.com/goshawk-dev/goshawk/internal/agent/download"
	"github.com/goshawk-dev/goshawk/internal/agent/handler"
	"github.com/goshawk-dev/goshawk/internal/agent/journal"
)

// Config is the configuration file of the agent, in YAML or JSON. Unknown fields are an error.
type Config struct {
	// Server is where updates come from. Without it the device is updated by hand only.
	Server *ServerConfig `json:"server,omitempty"`
	// Folder is for the state and the files of an update. Default: /var/lib/goshawk-agent.
	Folder string `json:"folder,omitempty"`
	// HandlersFolder has an executable for each type of software module, with the name of the type.
	// Default: /etc/goshawk-agent/handlers.d.
	HandlersFolder string `json:"handlersFolder,omitempty"`
	// Handlers maps types without an executable to the built-in handlers bundle and file.
	Handlers map[string]string `json:"handlers,omitempty"`
	// HandlerTimeout is the maximum duration of one call of a handler, such as 30m. Default: 1h.
	HandlerTimeout Duration `json:"handlerTimeout,omitempty"`
	// SkipSync says that handlers sync what they write themselves. By default the agent syncs all
	// file systems after each call of a handler that changes the software.
	SkipSync bool `json:"skipSync,omitempty"`
	// FileRoots are the folders below which the built-in handler file may write. Default: none.
	FileRoots []string `json:"fileRoots,omitempty"`
	// SignatureKeys are minisign public keys (the line of text that starts with RW). If there are
	// any, each artifact needs a signature of one of them in an artifact with the suffix .minisig.
	SignatureKeys []string `json:"signatureKeys,omitempty"`
	// DownloadBytesPerSecond limits the downloads. 0 or absent: no limit.
	DownloadBytesPerSecond int `json:"downloadBytesPerSecond,omitempty"`
	// Attributes are sent to the server, beside those of AttributesCommand.
	Attributes map[string]string `json:"attributes,omitempty"`
	// AttributesCommand is a program whose output has lines with name=value. It runs before each
	// poll and may take 10 seconds.
	AttributesCommand []string `json:"attributesCommand,omitempty"`
	// RebootCommand reboots the device. Default: systemctl reboot.
	RebootCommand []string `json:"rebootCommand,omitempty"`
}

// ServerConfig says how the device talks to its server. It has exactly one of TargetToken,
// GatewayToken and ClientCertificate.
type ServerConfig struct {
	// URL is the address with the tenant, such as https://hawkbit.example.com/DEFAULT.
	URL string `json:"url"`
	// ControllerID is the id of the device. Default: the host name.
	ControllerID string `json:"controllerID,omitempty"`
	// TargetTokenFile is a file with the token of this device.
	TargetTokenFile string `json:"targetTokenFile,omitempty"`
	// GatewayTokenFile is a file with a token that all devices of a gateway share.
	GatewayTokenFile string `json:"gatewayTokenFile,omitempty"`
	// ClientCertificateFile and ClientKeyFile are PEM files. They are read again for each
	// connection.
	ClientCertificateFile string `json:"clientCertificateFile,omitempty"`
	ClientKeyFile         string `json:"clientKeyFile,omitempty"`
	// CAFile is a PEM file with the certificates that the server's one must be signed by. Default:
	// the certificates of the system.
	CAFile string `json:"caFile,omitempty"`
	// Proxy is the address of a proxy. Default: the variables HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
	Proxy string `json:"proxy,omitempty"`
	// PollInterval is used if the server names none. Default: 5m.
	PollInterval Duration `json:"pollInterval,omitempty"`
	// RetryInterval is the longest time between two attempts while the server cannot be reached.
	// The first ones follow sooner. Default: 10m.
	RetryInterval Duration `json:"retryInterval,omitempty"`
}

// Duration is a duration such as 30m.
type Duration time.Duration

// UnmarshalJSON reads a duration. It must not be negative.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	err := json.Unmarshal(data, &text)
	var parsed time.Duration
	if err == nil {
		parsed, err = time.ParseDuration(text)
	}
	if err != nil || parsed < 0 {
		return fmt.Errorf("%s is not a duration: write for example 30s, 10m or 1h", data)
	}
	*d = Duration(parsed)
	return nil
}

func (d Duration) or(absent time.Duration) time.Duration {
	if d == 0 {
		return absent
	}
	return time.Duration(d)
}

// The defaults of Config.
const (
	DefaultConfig   = "/etc/goshawk-agent/config.yaml"
	defaultFolder   = "/var/lib/goshawk-agent"
	defaultHandlers = "/etc/goshawk-agent/handlers.d"
)

// ReadConfig reads and checks a configuration file.
func ReadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	var c Config
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	if err := c.resolve(filepath.Dir(path)); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	if c.Folder == "" {
		c.Folder = defaultFolder
	}
	if c.HandlersFolder == "" {
		c.HandlersFolder = defaultHandlers
	}
	if len(c.RebootCommand) == 0 {
		c.RebootCommand = []string{"systemctl", "reboot"}
	}
	if err := c.check(); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// resolve makes the paths of the configuration absolute, because handlers run in other folders. A
// relative one is relative to the folder of the configuration file.
func (c *Config) resolve(folder string) error {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	paths := []*string{&c.Folder, &c.HandlersFolder}
	if s := c.Server; s != nil {
		paths = append(paths, &s.TargetTokenFile, &s.GatewayTokenFile, &s.ClientCertificateFile, &s.ClientKeyFile, &s.CAFile)
	}
	for _, path := range paths {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(folder, *path)
		}
	}
	return nil
}

func (c *Config) check() error {
	for kind, builtIn := range c.Handlers {
		if builtIn != "bundle" && builtIn != "file" {
			return fmt.Errorf("handlers.%s is %q, want bundle or file", kind, builtIn)
		}
	}
	for _, root := range c.FileRoots {
		if !filepath.IsAbs(root) || filepath.Clean(root) == "/" {
			return fmt.Errorf("fileRoots has %q, want an absolute path of a folder other than /", root)
		}
	}
	if c.DownloadBytesPerSecond < 0 {
		return fmt.Errorf("downloadBytesPerSecond is %d, want 0 or more", c.DownloadBytesPerSecond)
	}
	if s := c.Server; s != nil {
		credentials := 0
		for _, file := range []string{s.TargetTokenFile, s.GatewayTokenFile, s.ClientCertificateFile} {
			if file != "" {
				credentials++
			}
		}
		switch {
		case s.URL == "":
			return errors.New("server.url is missing: write for example https://hawkbit.example.com/DEFAULT")
		case credentials != 1:
			return errors.New("server needs exactly one of targetTokenFile, gatewayTokenFile and clientCertificateFile")
		case (s.ClientCertificateFile == "") != (s.ClientKeyFile == ""):
			return errors.New("server.clientCertificateFile and server.clientKeyFile are needed together")
		}
		if _, err := ddi.New(nil, s.URL, "", nil); err != nil {
			return fmt.Errorf("server.url: %w", err)
		}
		if _, err := s.proxy(); err != nil {
			return err
		}
	}
	_, err := c.keys()
	return err
}

func (c *Config) keys() ([]minisign.PublicKey, error) {
	keys := make([]minisign.PublicKey, len(c.SignatureKeys))
	for i, text := range c.SignatureKeys {
		if err := keys[i].UnmarshalText([]byte(strings.TrimSpace(text))); err != nil {
			return nil, fmt.Errorf("signatureKeys[%d] is not a public key of minisign: %w", i, err)
		}
	}
	return keys, nil
}

// New returns the agent of a configuration. It opens the journal; at most one agent may do so at a
// time.
func New(c Config, log *slog.Logger) (*Agent, error) { return newOn(disk.OS{}, c, log) }

// newOn returns the agent with its files on a disk.
func newOn(fsys disk.FS, c Config, log *slog.Logger) (*Agent, error) {
	j, err := journal.Open(fsys, c.Folder, time.Now)
	if err != nil {
		return nil, err
	}
	keys, err := c.keys()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		Folder: c.Folder, Disk: fsys, Journal: j, Boot: handler.Boot(), Now: time.Now, Log: log, StorePause: 5 * time.Second, document: j.Document(), changed: make(chan struct{}), mayPublish: rate.NewLimiter(rate.Every(connectionPause), connectionBurst),
		Handlers: &handler.Registry{Folder: c.HandlersFolder, BuiltIn: c.Handlers, Roots: c.FileRoots, Timeout: c.HandlerTimeout.or(0), State: c.Folder, Disk: fsys, Free: free, SkipSync: c.SkipSync},
		Reboot:   func(ctx context.Context) error { return run(ctx, c.RebootCommand) },
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is documented to be one
	transport.DisableCompression = true
	transport.MaxIdleConns, transport.IdleConnTimeout = 2, 30*time.Second
	transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/"))) // for installations by hand
	a.Download = &download.Client{
		Disk: fsys, HTTP: &http.Client{Transport: transport, CheckRedirect: checkRedirect}, Keys: keys, BytesPerSecond: c.DownloadBytesPerSecond, Free: free,
		Pause: download.PauseWithJitter(time.Second, 5*time.Minute, rand.Float64), Failed: a.downloadFailed, RetryAfter: ddi.RetryAfter,
	}
	if c.Server == nil {
		return a, nil
	}
	if a.Server, err = c.Server.connect(transport); err != nil {
		return nil, err
	}
	a.Server.Attributes = c.attributes(log)
	a.Download.Request = a.Server.Client.Authorize
	return a, nil
}

// connect returns the server of the device. It sets TLS and the proxy of the transport.
func (s *ServerConfig) connect(transport *http.Transport) (*Server, error) {
	if _, err := s.authorization(); err != nil {
		return nil, err
	}
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if s.ClientCertificateFile != "" {
		if _, err := tls.LoadX509KeyPair(s.ClientCertificateFile, s.ClientKeyFile); err != nil {
			return nil, fmt.Errorf("read server.clientCertificateFile: %w", err)
		}
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(s.ClientCertificateFile, s.ClientKeyFile)
			return &pair, err
		}
	}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read server.caFile: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("server.caFile %s has no certificate in PEM form", s.CAFile)
		}
	}
	proxy, err := s.proxy()
	if err != nil {
		return nil, err
	}
	if proxy != nil {
		transport.Proxy = http.ProxyURL(proxy)
	}
	id := s.ControllerID
	if id == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		id = name
	}
	client, err := ddi.New(&http.Client{Transport: transport, CheckRedirect: checkRedirect}, s.URL, id, s.authorization)
	if err != nil {
		return nil, fmt.Errorf("server.url: %w", err)
	}
	return &Server{Client: client, Poll: s.PollInterval.or(5 * time.Minute), Longest: s.RetryInterval.or(10 * time.Minute), Random: rand.Float64}, nil
}

// proxy returns the address of the proxy, or nil if there is none in the configuration.
func (s *ServerConfig) proxy() (*url.URL, error) {
	if s.Proxy == "" {
		return nil, nil //nolint:nilnil // no proxy is no error
	}
	address, err := url.Parse(s.Proxy)
	if err != nil || address.Host == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, address.Scheme) {
		return nil, fmt.Errorf("server.proxy is %q, want for example http://proxy.example.com:3128, with http, https or socks5", s.Proxy)
	}
	return address, nil
}

// checkRedirect follows redirects as net/http does, with three rules of its own. Only HTTP leads to
// another server, and never to a file of the device. A report that a redirect would change into a
// request without content is an error. The token is for the server that the first request was for:
// not for another port or subdomain, and with TLS if that one had it.
func checkRedirect(request *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) >= 10:
		return errors.New("stopped after 10 redirects")
	case request.URL.Scheme != "http" && request.URL.Scheme != "https":
		return fmt.Errorf("%w: a redirect to %s is not followed, because only http and https are", download.ErrAddress, request.URL.Redacted())
	case request.Method != first.Method:
		return fmt.Errorf("the server redirects it to %s, which a %s cannot follow: set server.url to the address of the server after the redirect", request.URL.Redacted(), first.Method)
	case isUpgrade(first.URL, request.URL) || ddi.IsSameServer(first.URL, request.URL):
		return nil
	}
	request.Header.Del("Authorization")
	return nil
}

// isUpgrade reports whether the second address is that of the same host with TLS, as in a redirect
// of a server that has no content without TLS.
func isUpgrade(from, to *url.URL) bool {
	return from.Scheme == "http" && to.Scheme == "https" && strings.EqualFold(from.Hostname(), to.Hostname())
}

// authorization returns the value of the header Authorization. It reads the file for each request,
// so that a new token is used without a restart.
func (s *ServerConfig) authorization() (string, error) {
	scheme, file := "TargetToken", s.TargetTokenFile
	if file == "" {
		scheme, file = "GatewayToken", s.GatewayTokenFile
	}
	if file == "" {
		return "", nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the token of the server: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsAny(token, "\r\n\t ") {
		return "", fmt.Errorf("%s must contain one token and nothing else", file)
	}
	return scheme + " " + token, nil
}

// attributes returns the function for the attributes of the device.
func (c *Config) attributes(log *slog.Logger) func(context.Context) map[string]string {
	return func(ctx context.Context) map[string]string {
		out := map[string]string{}
		for name, value := range c.Attributes {
			out[name] = value
		}
		if len(c.AttributesCommand) == 0 {
			return out
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		text, err := output(ctx, c.AttributesCommand)
		if err != nil {
			log.Warn("attributesCommand failed", "command", c.AttributesCommand, "error", err)
		}
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(line, "="); ok && strings.TrimSpace(name) != "" {
				out[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
		}
		return out
	}
}

func run(ctx context.Context, command []string) error {
	text, err := output(ctx, command)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(text))
	}
	return nil
}

// maxOutput is how many bytes of the output of a command are used.
const maxOutput = 64 << 10

// output runs a command and returns the start of what it prints. A command that prints more ends.
func output(ctx context.Context, command []string) (string, error) {
	var start head
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.Stdout, c.Stderr = &start, &start
	c.WaitDelay = time.Second // a process that it started may have the pipe
	err := c.Run()
	return string(start), err
}

// head keeps the first bytes that are written to it, and refuses the others.
type head []byte

func (h *head) Write(data []byte) (int, error) {
	n := min(len(data), maxOutput-len(*h))
	*h = append(*h, data[:n]...)
	if n < len(data) {
		return n, fmt.Errorf("it prints more than %d bytes", maxOutput)
	}
	return n, nil
}
