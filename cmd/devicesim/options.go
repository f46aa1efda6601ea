// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/devicesim"
)

const usage = `devicesim plays a fleet of devices that poll a DDI device API for updates, or that
have the feature SoftwareUpdatable and wait for commands over MQTT.

Usage:

  devicesim --url http://127.0.0.1:8080 --tenant default --devices 100 --token secret
  devicesim --mqtt 127.0.0.1:1883 --tenant default --devices 100 --token secret

Every second it prints one line with counts. It runs until it is interrupted,
or for the time given with --for.

Behaviors, for --mix:

%s
Flags:

`

type options struct {
	url, tenant      string
	mqtt             string
	mqttDevices      int
	mqttTypes        string
	mqttCA           string
	mqttExternal     bool
	devices          int
	nameFormat       string
	token, tokenFile string
	gateway          bool
	attributes       attributes
	mix              string
	seed             int64
	poll             time.Duration
	jitter           float64
	step             time.Duration
	steps            int
	failCode         string
	fetchArtifacts   bool
	concurrency      int
	duration         time.Duration
	quiet, verbose   bool
}

// parse parses the command line. The error is flag.ErrHelp if help was printed.
func parse(args []string, out io.Writer) (options, error) {
	o := options{attributes: attributes{}}
	flags := flag.NewFlagSet("devicesim", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned, help is printed below
	flags.StringVar(&o.url, "url", "http://127.0.0.1:8080", "`address` of the device API")
	flags.StringVar(&o.mqtt, "mqtt", "", "`address` of an MQTT broker; devices use MQTT in place of DDI")
	flags.IntVar(&o.mqttDevices, "mqtt-devices", 0, "`number` of devices that use MQTT, the last ones; 0: all")
	flags.StringVar(&o.mqttTypes, "mqtt-types", "os,app", "`types` of software modules; a device has a feature for each")
	flags.StringVar(&o.mqttCA, "mqtt-ca", "", "`file` with CA certificates; MQTT over TLS")
	flags.BoolVar(&o.mqttExternal, "mqtt-external", false, "the broker is not Goshawk's own: users without tenant, and Hono's long topics")
	flags.StringVar(&o.tenant, "tenant", "default", "tenant of the devices, in Goshawk their `namespace`")
	flags.IntVar(&o.devices, "devices", 10, "`number` of devices")
	flags.StringVar(&o.nameFormat, "name-format", "device-%04d", "`format` of the device ids, numbered from 1")
	flags.StringVar(&o.token, "token", "", "`token` that all devices send")
	flags.StringVar(&o.tokenFile, "token-file", "", "`file` with a line id=token per device, or with one token for all")
	flags.BoolVar(&o.gateway, "gateway", false, "send the shared token as GatewayToken instead of TargetToken")
	flags.Var(o.attributes, "attribute", "attribute `key=value` that every device reports; may be repeated")
	flags.StringVar(&o.mix, "mix", "obedient", "behaviors and their `weights`, such as obedient=90,failing=5,silent=5")
	flags.Int64Var(&o.seed, "seed", 1, "`number` that determines all random choices")
	flags.DurationVar(&o.poll, "poll", 0, "polling `interval`; 0: the interval of the device API")
	flags.Float64Var(&o.jitter, "jitter", 0.1, "`share` of the polling interval by which it varies, 0 to 1")
	flags.DurationVar(&o.step, "step", time.Second, "`time` of each step of an update")
	flags.IntVar(&o.steps, "steps", 3, "`number` of progress reports while installing")
	flags.StringVar(&o.failCode, "fail-code", "1", "status `code` of failures")
	flags.BoolVar(&o.fetchArtifacts, "fetch-artifacts", false, "download artifacts and check size and checksum")
	flags.IntVar(&o.concurrency, "concurrency", 64, "largest `number` of requests at a time")
	flags.DurationVar(&o.duration, "for", 0, "stop after this `time`; 0: run until interrupted")
	flags.BoolVar(&o.quiet, "quiet", false, "print the counts only at the end")
	flags.BoolVar(&o.verbose, "verbose", false, "print the events of each device, except polls")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		printHelp(flags, out)
	}
	if err == nil {
		err = o.check(flags.Args())
	}
	return o, err
}

func printHelp(flags *flag.FlagSet, out io.Writer) {
	var list strings.Builder
	for _, t := range devicesim.Behaviors() {
		fmt.Fprintf(&list, "  %-17s %s\n", t, t.Description())
	}
	fmt.Fprintf(out, usage, list.String())
	flags.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		fmt.Fprintf(out, "  %-24s %s", strings.TrimSpace("--"+f.Name+" "+value), text)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
			fmt.Fprintf(out, " (default %s)", f.DefValue)
		}
		fmt.Fprintln(out)
	})
}

func (o options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is not a flag; see --help", rest[0])
	case o.devices < 1:
		return fmt.Errorf("--devices is %d; give at least 1", o.devices)
	case o.steps < 0:
		return fmt.Errorf("--steps is %d; give 0 or more", o.steps)
	case o.step < 0 || o.poll < 0 || o.duration < 0:
		return errors.New("--step, --poll and --for must not be negative")
	case o.mqtt == "" && (o.mqttDevices != 0 || o.mqttCA != "" || o.mqttExternal):
		return errors.New("--mqtt-devices, --mqtt-ca and --mqtt-external need --mqtt")
	case o.mqttDevices < 0 || o.mqttDevices > o.devices:
		return fmt.Errorf("--mqtt-devices is %d; give 0 to %d, the number of --devices", o.mqttDevices, o.devices)
	case o.token != "" && o.tokenFile != "":
		return errors.New("--token and --token-file are both given; give one of them")
	}
	return nil
}

// config returns the config of the fleet for the command line.
func (o options) config(out io.Writer) (devicesim.Config, error) {
	mix, err := devicesim.ParseMix(o.mix)
	if err != nil {
		return devicesim.Config{}, fmt.Errorf("--mix: %w", err)
	}
	devices, err := o.fleet()
	if err != nil {
		return devicesim.Config{}, err
	}
	config := devicesim.Config{
		BaseURL: o.url, Tenant: o.tenant, Devices: devices, Mix: mix, Seed: o.seed,
		PollInterval: o.poll, Jitter: o.jitter, StepTime: o.step, Steps: o.steps, FailCode: o.failCode,
		FetchArtifacts: o.fetchArtifacts, Concurrency: o.concurrency,
	}
	if o.mqtt != "" {
		if err := o.useMQTT(&config); err != nil {
			return devicesim.Config{}, err
		}
	}
	if o.gateway {
		config.GatewayToken, err = o.gatewayToken(devices)
	}
	if o.verbose {
		config.Observer = narrator(out)
	}
	return config, err
}

// useMQTT makes devices use MQTT.
func (o options) useMQTT(config *devicesim.Config) error {
	config.MQTT = devicesim.MQTT{Address: o.mqtt, IsExternal: o.mqttExternal}
	if o.mqttCA != "" {
		content, err := os.ReadFile(o.mqttCA)
		if err != nil {
			return fmt.Errorf("--mqtt-ca: %w", err)
		}
		config.MQTT.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
		if !config.MQTT.TLS.RootCAs.AppendCertsFromPEM(content) {
			return fmt.Errorf("--mqtt-ca: %s has no certificate", o.mqttCA)
		}
	}
	first := 0
	if o.mqttDevices > 0 {
		first = len(config.Devices) - o.mqttDevices
	}
	for i := first; i < len(config.Devices); i++ {
		config.Devices[i].ModuleTypes = strings.Split(o.mqttTypes, ",")
	}
	return nil
}

// gatewayToken returns the shared token and removes it from the devices, because a device with its
// own token sends that one.
func (o options) gatewayToken(devices []devicesim.Device) (string, error) {
	token := devices[0].Token
	for i := range devices {
		if devices[i].Token != token {
			return "", errors.New("--gateway needs one token for all, and --token-file has several")
		}
		devices[i].Token = ""
	}
	if token == "" {
		return "", errors.New("--gateway needs --token or --token-file")
	}
	return token, nil
}

func (o options) fleet() ([]devicesim.Device, error) {
	ids, err := names(o.nameFormat, o.devices)
	if err != nil {
		return nil, fmt.Errorf("--name-format: %w", err)
	}
	tokens := func(string) string { return o.token }
	if o.tokenFile != "" {
		if tokens, err = readTokens(o.tokenFile, ids); err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
	}
	devices := make([]devicesim.Device, len(ids))
	for i, id := range ids {
		devices[i] = devicesim.Device{ID: id, Token: tokens(id), Attributes: o.attributes}
	}
	return devices, nil
}

// names returns the names of n devices, numbered from 1.
func names(format string, n int) ([]string, error) {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf(format, i+1)
	}
	if strings.Contains(ids[0], "%!") {
		return nil, fmt.Errorf("%q does not take one number; give one like device-%%04d", format)
	}
	return ids, nil
}

// readTokens reads a file of lines id=token, or of one token for all devices.
// Empty lines and lines that start with # do not count.
func readTokens(file string, ids []string) (func(id string) string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	if len(lines) == 1 && !strings.HasPrefix(lines[0], ids[0]+"=") {
		return func(string) string { return lines[0] }, nil
	}
	return tokensByID(file, lines, ids)
}

func tokensByID(file string, lines, ids []string) (func(id string) string, error) {
	tokens := make(map[string]string, len(lines))
	for _, line := range lines {
		id, token, found := strings.Cut(line, "=")
		if !found || token == "" {
			// The line may be a token, so it is not part of the error.
			return nil, fmt.Errorf("%s: entry %d is not id=token", file, len(tokens)+1)
		}
		tokens[id] = token
	}
	for _, id := range ids {
		if tokens[id] == "" {
			return nil, fmt.Errorf("%s has no token for %s; add a line %s=TOKEN", file, id, id)
		}
	}
	return func(id string) string { return tokens[id] }, nil
}

// narrator returns a function that prints an event in one line.
func narrator(out io.Writer) func(devicesim.Event) {
	return func(e devicesim.Event) {
		if e.Kind != devicesim.Polled {
			fmt.Fprintln(out, e)
		}
	}
}

// attributes is a flag that may be repeated.
type attributes map[string]string

func (a attributes) String() string { return "" }

func (a attributes) Set(text string) error {
	key, value, found := strings.Cut(text, "=")
	if !found || key == "" {
		return errors.New("give key=value")
	}
	a[key] = value
	return nil
}
