// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/ditto"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
)

const (
	// shareName is the name of a shared subscription: each message goes to one of the processes.
	shareName = "goshawk"
	// sessionExpiry is how long the external broker keeps what this process has not acknowledged.
	sessionExpiry = time.Hour
	// maxUnhandled is the maximum number of messages that this process has received and not
	// acknowledged, and that of messages with quality of service 0, beyond which these are dropped.
	maxUnhandled = 1000
	// maxParallel is the maximum number of messages that are handled in parallel, of different
	// devices.
	maxParallel = 64
	// maxQueued is the maximum number of messages that wait for the connection to the broker.
	maxQueued = 10_000
	// maxFailures is how often a message is handled without success before it is dropped, unless
	// the backend is not available or the device exceeds its rates.
	maxFailures = 20

	brokerKeepAlive = 30 // seconds
	minRetry        = time.Second
	maxRetry        = 30 * time.Second
	ackInterval     = 10 * time.Millisecond
	// lasting is how long a connection lasts that is not followed by a longer wait.
	lasting = time.Minute
)

// ExternalOptions are the options of an External broker.
type ExternalOptions struct {
	// URL is that of the broker: mqtt://host:1883 or mqtts://host:8883.
	URL string
	// ClientID is the MQTT client id of this process. It must be the same after a restart, because
	// the broker keeps for it what this process has not acknowledged. Processes that run at the
	// same time need different ones. Default: goshawk, and with IsShared goshawk-<host name>, which
	// is the name of the pod.
	ClientID string
	// User is the user name, and PasswordFile the file with the password, which is read for each
	// connection. Default: none.
	User, PasswordFile string
	// IsShared makes all processes with it share the messages, by a shared subscription. Without
	// it, each process gets all messages. Some brokers (mosquitto 2.0.11) do not store shared
	// subscriptions: after their restart they lose messages that arrive before this process.
	IsShared bool
	// TLS is used with mqtts. Default: that of Go, with the CAs of the system.
	TLS *tls.Config

	// Log gets failures as errors. Default: none.
	Log logr.Logger
	// Registerer registers the metrics. Default: none.
	Registerer prometheus.Registerer
}

// External is a client of an external broker with MQTT 5, and a ditto.Transport. That broker
// decides which client may use the topics of which device. They have Hono's long form:
//
//	event/<namespace>/<controllerID>                              from the device; or e/…
//	command/<namespace>/<controllerID>/req/<request>/<subject>    to the device
//	command/<namespace>/<controllerID>/res/<request>/<status>     from the device; or c/…/s/…
//
// A gateway uses the topics of its devices.
type External struct {
	options ExternalOptions
	url     *url.URL
	metrics *metrics
	outbox  *outbox

	handler ditto.Handler
	// running ends with ctx of Run, after which nothing is tried again. serving ends when no
	// further message is handled.
	running, serving context.Context
	parallel         chan struct{}
	failures         rate.Sometimes
	handling         sync.WaitGroup

	mu      sync.Mutex
	inboxes map[deviceapi.Device][]incoming
	waiting int
	// connectedAt is when the last connection was opened. shortConnections counts those since the
	// last one that lasted.
	connectedAt      time.Time
	shortConnections int
}

// incoming is a message that is not acknowledged.
type incoming struct {
	ditto.Message
	received paho.PublishReceived
}

var _ ditto.Transport = (*External)(nil)

// NewExternal returns a client of an external broker. Run connects. The error says which option is
// wrong.
func NewExternal(options ExternalOptions) (*External, error) {
	address, err := url.Parse(options.URL)
	if err != nil || address.Scheme != "mqtt" && address.Scheme != "mqtts" || address.Hostname() == "" || address.Port() == "" || address.User != nil || address.Path != "" || address.RawQuery != "" || address.ForceQuery || address.Fragment != "" {
		return nil, errors.New("the URL of the MQTT broker must be mqtt:// or mqtts://, a host and a port, without a user, as in mqtts://broker.example:8883")
	}
	if options.ClientID == "" {
		options.ClientID = "goshawk"
		if options.IsShared {
			host, err := os.Hostname()
			if err != nil {
				return nil, fmt.Errorf("name the MQTT client: %w", err)
			}
			options.ClientID += "-" + host
		}
	}
	m, err := newMetrics(options.Registerer)
	if err != nil {
		return nil, err
	}
	return &External{
		options: options, url: address, metrics: m, outbox: newOutbox(maxQueued),
		parallel: make(chan struct{}, maxParallel), failures: rate.Sometimes{First: 1, Interval: time.Minute},
		inboxes: map[deviceapi.Device][]incoming{},
	}, nil
}

// KnowsPresence returns false.
func (e *External) KnowsPresence() bool { return false }

// Close has no effect, because the connections of devices belong to the external broker.
func (e *External) Close(deviceapi.Device, ditto.ConnectionID, string) {}

// Run keeps a connection to the broker until ctx is done. Then it ends a shared subscription,
// handles what it has received, and disconnects. What it has not handled, and what arrives for a
// subscription that is not shared, is sent by the broker when a process with the same client id
// connects.
func (e *External) Run(ctx context.Context, handler ditto.Handler) error {
	serving, endServing := context.WithCancel(context.WithoutCancel(ctx))
	defer endServing()
	e.handler, e.running, e.serving = handler, ctx, serving
	connecting, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	defer disconnect()
	manager, err := autopaho.NewConnection(connecting, e.config(ctx))
	if err != nil {
		return fmt.Errorf("connect to the MQTT broker: %w", err)
	}
	<-ctx.Done()
	defer e.metrics.connected.Set(0)

	grace, cancel := context.WithTimeout(connecting, shutdownTimeout)
	defer cancel()
	if e.options.IsShared {
		e.unsubscribe(grace, manager)
	}
	e.drain(grace)
	endServing()
	sleep(grace, 5*ackInterval) // until the acknowledgements are sent
	if err := manager.Disconnect(grace); err != nil {
		return fmt.Errorf("disconnect from the MQTT broker: %w", err)
	}
	return nil
}

// unsubscribe ends a shared subscription, so that the other processes get all messages.
func (e *External) unsubscribe(ctx context.Context, manager *autopaho.ConnectionManager) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := manager.Unsubscribe(ctx, &paho.Unsubscribe{Topics: e.filters()}); err != nil {
		e.options.Log.V(1).Info("the subscription at the MQTT broker was not ended", "error", err.Error())
	}
}

// drain waits until the messages that were received are handled.
func (e *External) drain(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		e.handling.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// filters are the topics of devices. # also stands for no further level, and is for the properties
// at the end of a topic of Hono.
func (e *External) filters() []string {
	filters := []string{"event/+/+/#", "e/+/+/#", "command/+/+/res/#", "c/+/+/s/#"}
	if e.options.IsShared {
		for i := range filters {
			filters[i] = "$share/" + shareName + "/" + filters[i]
		}
	}
	return filters
}

func (e *External) config(ctx context.Context) autopaho.ClientConfig {
	return autopaho.ClientConfig{
		ServerUrls: []*url.URL{e.url}, TlsCfg: e.options.TLS, KeepAlive: brokerKeepAlive, SessionExpiryInterval: uint32(sessionExpiry / time.Second),
		ReconnectBackoff: e.backoff, Queue: e.outbox,
		ConnectPacketBuilder: e.connectPacket,
		OnConnectionUp: func(manager *autopaho.ConnectionManager, _ *paho.Connack) {
			e.mu.Lock()
			e.connectedAt = time.Now()
			e.mu.Unlock()
			e.options.Log.Info("connected to the MQTT broker", "url", e.url.Redacted())
			go e.subscribe(ctx, manager)
		},
		OnConnectionDown: func() bool {
			e.metrics.connected.Set(0)
			e.options.Log.Info("the connection to the MQTT broker is lost; it is opened again", "url", e.url.Redacted())
			return true
		},
		OnConnectError: func(err error) {
			e.metrics.connectFailures.Inc()
			e.failures.Do(func() {
				e.options.Log.Error(err, "connecting to the MQTT broker failed; it is tried again", "url", e.url.Redacted())
			})
		},
		ClientConfig: paho.ClientConfig{
			ClientID: e.options.ClientID, EnableManualAcknowledgment: true, SendAcksInterval: ackInterval,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){e.received},
		},
	}
}

// backoff returns how long the next attempt to connect waits. It waits longer after connections
// that did not last: then another process may have connected with the same client id, and both must
// not replace each other all the time. Not every broker says so.
func (e *External) backoff(attempt int) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if attempt == 0 && e.connectedAt.IsZero() { // the first connection
		return 0
	}
	if attempt == 0 {
		e.shortConnections++
		if time.Since(e.connectedAt) > lasting {
			e.shortConnections = 0
		}
	}
	wait := minRetry / 4 << min(attempt+e.shortConnections, 20)
	return min(wait, maxRetry)/2 + rand.N(min(wait, maxRetry)/2)
}

// connectPacket completes a CONNECT packet.
func (e *External) connectPacket(connect *paho.Connect, _ *url.URL) (*paho.Connect, error) {
	receiveMaximum, packetSize := uint16(maxUnhandled), uint32(maxPacket)
	if connect.Properties == nil {
		connect.Properties = &paho.ConnectProperties{}
	}
	connect.Properties.ReceiveMaximum, connect.Properties.MaximumPacketSize = &receiveMaximum, &packetSize
	connect.Username, connect.UsernameFlag = e.options.User, e.options.User != ""
	if e.options.PasswordFile != "" {
		password, err := os.ReadFile(e.options.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("read the password for the MQTT broker: %w", err)
		}
		connect.Password, connect.PasswordFlag = bytes.TrimSpace(password), true
	}
	return connect, nil
}

// subscribe subscribes on a new connection, and tries again until the connection or ctx ends.
func (e *External) subscribe(ctx context.Context, manager *autopaho.ConnectionManager) {
	request := &paho.Subscribe{}
	for _, filter := range e.filters() {
		request.Subscriptions = append(request.Subscriptions, paho.SubscribeOptions{Topic: filter, QoS: 1})
	}
	for wait := minRetry; ctx.Err() == nil; wait = min(2*wait, maxRetry) {
		_, err := manager.Subscribe(ctx, request)
		if err == nil {
			e.metrics.connected.Set(1)
			return
		}
		if errors.Is(err, autopaho.ConnectionDownError) || ctx.Err() != nil {
			return // a next connection subscribes again
		}
		e.options.Log.Error(err, "the MQTT broker refuses the subscription; let this user read these topics", "user", e.options.User, "filters", e.filters())
		sleep(ctx, wait)
	}
}

// received puts a message into the inbox of its device. It does not wait.
func (e *External) received(received paho.PublishReceived) (bool, error) {
	device, message, err := readMessage(received.Packet)
	if err != nil {
		e.options.Log.V(1).Info("an MQTT message is ignored", "topic", received.Packet.Topic, "error", err.Error())
		return true, received.Client.Ack(received.Packet)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if received.Packet.QoS == 0 && e.waiting >= maxUnhandled {
		e.metrics.messages.WithLabelValues("dropped").Inc()
		return true, nil
	}
	e.metrics.messages.WithLabelValues("received").Inc()
	e.waiting++
	inbox, isHandled := e.inboxes[device]
	e.inboxes[device] = append(inbox, incoming{message, received})
	if !isHandled {
		e.handling.Go(func() { e.handleAll(device) })
	}
	return true, nil
}

// readMessage returns the device of a message, and the message with the topic that a device without
// a gateway uses.
func readMessage(packet *paho.Publish) (deviceapi.Device, ditto.Message, error) {
	topic, err := wire.ParseTopic(packet.Topic)
	if err != nil {
		return deviceapi.Device{}, ditto.Message{}, err
	}
	device := deviceapi.Device{Namespace: strings.ToLower(topic.Tenant), ControllerID: topic.Device}
	if err := errors.Join(deviceapi.CheckID("the tenant in the topic", device.Namespace), deviceapi.CheckID("the device in the topic", device.ControllerID)); err != nil {
		return deviceapi.Device{}, ditto.Message{}, err
	}
	message := ditto.Message{Topic: "e", Payload: packet.Payload}
	if topic.Kind == wire.ResponseTopic {
		message.Topic = fmt.Sprintf("command///res/%s/%d", topic.RequestID, topic.Status)
	}
	return device, message, nil
}

// handleAll handles the messages of a device in order.
func (e *External) handleAll(device deviceapi.Device) {
	for {
		message, ok := e.first(device)
		if !ok {
			return
		}
		if !e.handle(device, message.Message) {
			e.forget(device)
			return
		}
		if err := message.received.Client.Ack(message.received.Packet); err != nil && !errors.Is(err, paho.ErrPacketNotFound) { // of an earlier connection
			e.options.Log.Error(err, "an MQTT message could not be acknowledged", "topic", message.received.Packet.Topic)
		}
		e.next(device)
	}
}

// first returns the first message of an inbox, or removes an inbox that is empty.
func (e *External) first(device deviceapi.Device) (incoming, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if inbox := e.inboxes[device]; len(inbox) > 0 {
		return inbox[0], true
	}
	delete(e.inboxes, device)
	return incoming{}, false
}

func (e *External) next(device deviceapi.Device) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inboxes[device] = e.inboxes[device][1:]
	e.waiting--
}

// forget drops the inbox of a device at the end of Run.
func (e *External) forget(device deviceapi.Device) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting -= len(e.inboxes[device])
	delete(e.inboxes, device)
}

// handle gives a message to the handler until it is stored. It reports false at the end of Run.
func (e *External) handle(device deviceapi.Device, message ditto.Message) bool {
	wait := minRetry
	for failures := 1; ; failures++ {
		err := e.handleOnce(device, message)
		if err == nil {
			return true
		}
		if e.running.Err() != nil {
			return false
		}
		log := e.options.Log.WithValues("namespace", device.Namespace, "controllerID", device.ControllerID, "topic", message.Topic)
		tooMany, unavailable := new(deviceapi.TooMany), new(deviceapi.Unavailable)
		isBusy := errors.As(err, tooMany) || errors.As(err, unavailable)
		if !isBusy && failures >= maxFailures {
			log.Error(err, "an MQTT message is dropped, because it could not be handled", "failures", failures)
			e.metrics.messages.WithLabelValues("dropped").Inc()
			return true
		}
		log.V(1).Info("an MQTT message is not acknowledged; it is handled again", "error", err.Error())
		sleep(e.running, max(wait, tooMany.RetryAfter, unavailable.RetryAfter))
		wait = min(2*wait, maxRetry)
	}
}

func (e *External) handleOnce(device deviceapi.Device, message ditto.Message) error {
	select {
	case e.parallel <- struct{}{}:
	case <-e.serving.Done():
		return e.serving.Err()
	}
	defer func() { <-e.parallel }()
	return e.handler.Received(e.serving, device, 0, message)
}

// Send gives a message for a device to the broker, also while there is no connection to it. The
// device gets it if it has subscribed to its commands. The error says that too many messages wait
// for the broker, or that no topic can have the id of the device.
func (e *External) Send(ctx context.Context, device deviceapi.Device, message ditto.Message) error {
	rest, isCommand := strings.CutPrefix(message.Topic, "command///")
	if !isCommand {
		return fmt.Errorf("with an external MQTT broker nothing is sent to %s", message.Topic)
	}
	if strings.ContainsAny(device.ControllerID, "+#/") {
		return fmt.Errorf("controllerID %q contains +, # or /, which the topics of an MQTT broker cannot contain", device.ControllerID)
	}
	publish := &paho.Publish{QoS: 1, Topic: "command/" + device.Namespace + "/" + device.ControllerID + "/" + rest, Payload: message.Payload}
	var packet bytes.Buffer
	if _, err := publish.Packet().WriteTo(&packet); err != nil {
		return fmt.Errorf("encode an MQTT message: %w", err)
	}
	if err := e.outbox.Enqueue(&packet); err != nil {
		return err
	}
	e.metrics.messages.WithLabelValues("sent").Inc()
	return ctx.Err()
}
